"""The throwaway cluster, for what Slurm itself must say."""

from tests.slurm.conftest import slurm, user

__all__ = ["slurm", "user"]
