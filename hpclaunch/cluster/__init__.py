"""Slurm and this machine: submit, follow, ask, cancel. The only room that starts programs."""
