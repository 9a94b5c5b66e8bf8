"""What a site's submission plugin (job_submit.lua) made of a job's options."""

from __future__ import annotations

import re

from hpclaunch.slurm.jobs import job_fields
from hpclaunch.slurm.nodes import sinfo

_FIELDS = {
    "partition": ("Partition", "partition"),
    "time": ("TimeLimit", "time limit"),
    "nodes": ("NumNodes", "nodes"),
    "account": ("Account", "account"),
    "qos": ("QOS", "QOS"),
}
"""Options of sbatch: the field of `scontrol show job` that has each, and its name in a sentence."""
_OPTION = re.compile(rf"^#SBATCH --({'|'.join(_FIELDS)})=['\"]?([^\s'\"]+)", re.MULTILINE)
_UNSET = {"", "(null)", "N/A"}


def changed_by_site(script: str, job: str) -> str:
    """Return in a sentence where Slurm holds other values for a job than its script requests.

    '' where there is none, or where Slurm does not answer. Slurm takes the last of several lines.
    `job`: a job's number, or an array's, whose tasks request the same.
    """
    requested = dict(_OPTION.findall(script))
    held = job_fields(job, any_task=True)
    changes = [
        f"{words} {held[field]}, {requested[option]} was requested"
        for option, (field, words) in _FIELDS.items()
        if option in requested and field in held
        if not _same(option, requested[option], held[field])
    ]
    if "partition" not in requested and (partition := held.get("Partition", "")) not in _UNSET:
        default = {node.partition for node in sinfo().types if node.default}
        if default and default.isdisjoint(partition.split(",")):
            changes.append(f"partition {partition}, not the default {', '.join(default)}")
    return f"the site has changed the job: {'; '.join(changes)}" if changes else ""


def _same(option: str, requested: str, held: str) -> bool:
    if held in _UNSET:  # decided when the job starts, or nothing the cluster keeps
        return True
    if option == "time":
        both = _minutes(requested), _minutes(held)
        return None in both or both[0] == both[1]
    if option == "nodes":
        return held.partition("-")[0] == requested.partition("-")[0]
    # Names are kept in small letters; of several partitions one is left when the job starts.
    return set(held.lower().split(",")) <= set(requested.lower().split(","))


def _minutes(text: str) -> int | None:
    """Return one of Slurm's times in whole minutes, rounded up as Slurm does; None for no limit."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in parts) or (dash and not days.isdigit()):
        return None
    numbers = [int(part) for part in parts]
    if dash:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
