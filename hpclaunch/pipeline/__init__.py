"""Stages that follow one another: a file, dependent jobs on Slurm, one folder over them."""
