"""What the jobs of stages execute: one module a stage, `python -m hpclaunch.train.stages.NAME`."""
