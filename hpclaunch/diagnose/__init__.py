"""A run folder, and Slurm's word on its job, to what happened."""
