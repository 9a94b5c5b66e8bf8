"""A throwaway Slurm cluster for the tests, and the tests that need one."""
