"""The allocation this shell is in, if any: how many nodes, GPUs and cores it holds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.slurm.jobs import job_fields, job_id

_COUNT = re.compile(r"gpu(?::[\w.-]+)*?[:=](\d+)(?=$|[,(])")
"""The count at the end of `gres:gpu:2080ti:4`, `gres/gpu=8`, `gres/gpu:3g.20gb:2`."""


@frozen
class Allocation:
    """What Slurm has granted."""

    job_id: str
    nodes: int
    gpus: int | None
    """GPUs a node; None: it holds none, or Slurm does not say."""
    cpus: int | None
    """CPU cores a node."""


def current_allocation(environment: Mapping[str, str] = os.environ) -> Allocation | None:
    """Return the allocation this process runs in. Raises UserError for one that has ended.

    The controller is asked instead of the many variables, which tell a step's share inside a step.
    """
    job = job_id(environment)
    if not job:
        return None
    fields = job_fields(job)
    if fields.get("JobState") != "RUNNING" or not fields.get("NumNodes", "").isdigit():
        raise UserError(
            f"this shell belongs to job {job}, which is not running",
            "leave it with 'exit', or unset SLURM_JOB_ID",
        )
    nodes = int(fields["NumNodes"])
    cpus = int(fields["NumCPUs"]) // nodes if fields.get("NumCPUs", "").isdigit() else None
    return Allocation(job, nodes, _gpus(fields, nodes), cpus)


def _gpus(fields: Mapping[str, str], nodes: int) -> int | None:
    """Read the GPUs of a node off what the job asked for, or off its total."""
    tasks = fields.get("NumTasks", "")
    shares = (
        ("TresPerNode", 1, 1),
        ("TresPerTask", int(tasks) if tasks.isdigit() else 1, nodes),
        ("TresPerJob", 1, nodes),
        ("AllocTRES", 1, nodes),
        ("TRES", 1, nodes),
    )
    for key, times, among in shares:
        match = _COUNT.search(fields.get(key, ""))
        if match:
            return int(match.group(1)) * times // among or None
    return None
