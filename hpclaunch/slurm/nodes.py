"""What sinfo says of the cluster's nodes: rows of those that are alike, in their partitions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpclaunch.frozen import frozen
from hpclaunch.slurm import commands

_FORMAT = "%P|%c|%f|%G|%m|%D|%l"
_TIME_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


@frozen
class NodeType:
    """One row of sinfo: nodes of a partition that are alike."""

    partition: str
    cpus: int
    features: tuple[str, ...]
    gres: tuple[tuple[str | None, int], ...]
    """GPU types (None where untyped) and how many of each a node has."""
    memory_mib: int | None = None
    """Host memory of a node in MiB; None where the cluster does not configure it."""
    count: int | None = None
    """How many such nodes there are."""
    time_limit: str | None = None
    """The partition's longest time limit as Slurm writes it; None where there is none."""
    default: bool = False
    """Whether jobs that name no partition go to this one."""

    @property
    def gpus(self) -> int:
        """GPUs of a node, all types together."""
        return sum(count for _, count in self.gres)

    @property
    def time_limit_s(self) -> int | None:
        """The partition's longest time limit in seconds."""
        found = _TIME_LIMIT.fullmatch(self.time_limit or "")
        if not found:
            return None
        days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@frozen
class Sinfo:
    """What sinfo lists, or why it does not answer."""

    types: tuple[NodeType, ...] = ()
    problem: str = ""
    """Slurm's own message where sinfo failed twice: nothing is known of the nodes then."""


def sinfo(partition: str | None = None) -> Sinfo:
    """Return the nodes that sinfo lists, of `partition` (or several with commas) if named.

    Partitions that are hidden are listed only where they are named.
    """
    named = [f"--partition={partition}"] if partition else []
    answer = commands.query("sinfo", "--noheader", "--exact", *named, f"--format={_FORMAT}")
    if not answer.answered:
        return Sinfo(problem=answer.problem or "no reason given")
    return Sinfo(tuple(parse_types(answer.text)))


def parse_types(rows: str) -> list[NodeType]:
    """Read rows `partition|cpus|features|gres[|memory|count|time limit]`.

    Rows of another form are left out.
    """
    return [node for row in rows.splitlines() if (node := _parse(row))]


def in_question(types: Iterable[NodeType], partition: str | None) -> list[NodeType]:
    """Return the nodes that a job can get: of the partitions it names, else of the default one.

    All of them where no partition is known to be the default.
    """
    if partition:
        partitions = set(partition.split(","))
        return [node for node in types if node.partition in partitions]
    every = list(types)
    return [node for node in every if node.default] or every


def smallest(types: Iterable[NodeType], partition: str | None = None) -> int | None:
    """Return the cores of the smallest node that a job can get; None where none is known."""
    return min((node.cpus for node in in_question(types, partition)), default=None)


def _parse(row: str) -> NodeType | None:
    """Read one row of sinfo; None for one of another form."""
    fields = row.split("|")
    if len(fields) not in {4, 7} or not (cpus := re.match(r"\d+", fields[1])):
        return None
    partition, _, features, gres, *more = fields
    memory, count, limit = more or ("", "", "")
    mib = re.match(r"\d+", memory)
    return NodeType(
        partition=partition.removesuffix("*"),
        cpus=int(cpus.group()),
        features=tuple(f for f in features.split(",") if f and f != "(null)"),
        gres=tuple(
            (gpu_type or None, int(number))
            for gpu_type, number in re.findall(r"\bgpu(?::([\w.-]+?))?:(\d+)", gres)
        ),
        # Slurm's default of 1 MiB says that nobody configured it.
        memory_mib=int(mib.group()) if mib and int(mib.group()) > 1 else None,
        count=int(count) if count.isdecimal() else None,
        time_limit=limit if _TIME_LIMIT.fullmatch(limit) else None,
        default=partition.endswith("*"),
    )
