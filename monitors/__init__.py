"""Sampling of GPUs and hosts during a job, and reports made from the samples.

The package works alone: it needs the standard library, and `nvidia-ml-py` where there are GPUs.

- `python -m monitors.recorder --out DIR` records one node.
- `python -m monitors.report DIR` reports on every node recorded in DIR.
"""
