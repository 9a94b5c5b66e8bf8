"""What Slurm allows of job arrays, and the numbers of their tasks."""

from __future__ import annotations

import re

from hpclaunch.slurm import commands

_LARGEST = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)


def max_array_size() -> int | None:
    """Return the number of tasks that an array may have; None where Slurm does not say.

    Slurm's own setting is one more than the largest number of a task, and these begin with 0.
    """
    match = _LARGEST.search(commands.ask("scontrol", "show", "config"))
    return int(match.group(1)) if match else None


def task_id(array: str, task: int) -> str:
    """Return the job id of one task of an array."""
    return f"{array}_{task}"
