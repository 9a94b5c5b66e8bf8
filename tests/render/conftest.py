"""The throwaway Slurm cluster, for the tests that hand it a script."""

from tests.slurm.conftest import slurm

__all__ = ["slurm"]
