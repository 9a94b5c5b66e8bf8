"""A job whose completions are written by a server on a node of its own."""

from __future__ import annotations

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import Launch

KEY = "method.grpo.server.enabled"


def check_server(launch: Launch) -> None:
    """Refuse a server where no node can be asked for beside those that train. Raises UserError."""
    if launch.mode != "sbatch":
        raise UserError(
            f"{KEY}: the server has a node of its own, the last of a batch job's",
            f"use sbatch, or {KEY}=false: the ranks write the completions",
        )
    if launch.part_of_allocation:
        raise UserError(
            f"{KEY}: this allocation's nodes are shared with others", "submit a job of its own"
        )
