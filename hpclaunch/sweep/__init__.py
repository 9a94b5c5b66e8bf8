"""Many runs of one recipe with different values: a Slurm job array, and a table of what came."""
