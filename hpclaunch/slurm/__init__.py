"""Slurm's commands: text in, typed values out."""
