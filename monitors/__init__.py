"""Sampling of GPUs and hosts during a job, and reports made from the samples.

The package works alone. It needs psutil, numpy for reports, and nvidia-ml-py for NVIDIA's GPUs.

- `python -m monitors.recorder --out DIR` records one node.
- `python -m monitors.report DIR` reports on every node recorded in DIR.
"""
