"""Ask the cluster itself how its GPUs are asked for, where no site profile says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpclaunch.errors import UserError
from hpclaunch.site.schema import GpuRequest
from hpclaunch.slurm import commands

_GPU_WORD = re.compile(r"(^|[^a-z])(gh|rtx|[abhlmtv])_?\d{1,4}", re.IGNORECASE)
"""Features that name a GPU, among those that name racks, CPUs and fabrics."""


@dataclass(frozen=True)
class NodeKind:
    """One row of sinfo: nodes that are alike."""

    partition: str
    cpus: int
    features: tuple[str, ...]
    gres: tuple[tuple[str | None, int], ...]
    """GPU types (None where untyped) and how many of each a node has."""

    @property
    def gpus(self) -> int:
        """GPUs of a node, all types together."""
        return sum(count for _, count in self.gres)


@dataclass(frozen=True)
class Discovery:
    """How to ask for the kind, and what its nodes hold."""

    request: GpuRequest
    node_cpus: int | None
    """CPU cores of a node; None where the nodes in question differ: which it will be is open."""
    node_gpus: int | None
    """GPUs of a node; None where the nodes in question differ."""
    most_gpus: int
    """GPUs of the largest node in question: no node can give more."""


def node_kinds() -> list[NodeKind]:
    """Return the kinds of nodes that sinfo lists."""
    return parse_kinds(commands.ask("sinfo", "--noheader", "--exact", "--format=%R|%c|%f|%G"))


def parse_kinds(rows: str) -> list[NodeKind]:
    """Read sinfo's rows `partition|cpus|features|gres`; rows of another form are left out."""
    return [kind for row in rows.splitlines() if (kind := _parse(row))]


def smallest(kinds: list[NodeKind], partition: str | None = None) -> int | None:
    """Return the cores of the smallest node, of `partition` (or several with commas) if named."""
    partitions = set(partition.split(",")) if partition else None
    return min((k.cpus for k in kinds if not partitions or k.partition in partitions), default=None)


def _parse(row: str) -> NodeKind | None:
    """Read one row of sinfo; None for one of another form."""
    fields = row.split("|")
    if len(fields) != 4 or not (cpus := re.match(r"\d+", fields[1])):
        return None
    features = tuple(f for f in fields[2].split(",") if f and f != "(null)")
    gres = tuple(
        (kind or None, int(count))
        for kind, count in re.findall(r"\bgpu(?::([\w.-]+?))?:(\d+)", fields[3])
    )
    return NodeKind(fields[0], int(cpus.group()), features, gres)


def discover(
    kind: str | None, kinds: list[NodeKind], partition: str | None = None
) -> Discovery | None:
    """Match a GPU kind with the cluster's features and GRES types, tolerant of `-`, `_` and `gb`.

    `partition` (one, or several with commas) leaves only its nodes in question. None where the
    cluster tells nothing. Raises UserError where it names kinds and not this one.
    """
    partitions = set(partition.split(",")) if partition else None
    with_gpus = [k for k in kinds if k.gres and (not partitions or k.partition in partitions)]
    if not with_gpus:
        return None
    words = {t for k in with_gpus for t, _ in k.gres if t}
    words |= {f for k in with_gpus for f in k.features if _GPU_WORD.search(f)}
    if kind is None or not words:
        return _holding(GpuRequest(), with_gpus)
    for meant in (kind, _family(kind, words)):
        found = _named(meant, with_gpus) if meant else None
        if found:
            return found
    where = f"partition {partition}" if partition else "this cluster"
    raise UserError(
        f"no node of {where} has GPU kind '{kind}'",
        f"its features and types: {', '.join(sorted(words))}; or say how in a site profile",
    )


def _named(kind: str, nodes: list[NodeKind]) -> Discovery | None:
    """Find the cluster's word for exactly this kind: a feature first, else a GRES type."""
    for node in nodes:
        for feature in node.features:
            if _plain(feature) == _plain(kind):
                same = [k for k in nodes if feature in k.features]
                return _holding(GpuRequest(constraint=feature), same)
        for gres_type, _ in node.gres:
            if gres_type and _plain(gres_type) == _plain(kind):
                same = [k for k in nodes if gres_type in {t for t, _ in k.gres}]
                return _holding(GpuRequest(gres_type=gres_type), same)
    return None


def _family(kind: str, words: set[str]) -> str | None:
    """Return the plain name of a kind that comes in sizes: `a100` of `a100_80`.

    None where the cluster tells the sizes apart: its plain word may then be the other size.
    """
    family, _, size = kind.partition("_")
    sized = re.compile(re.escape(_plain(family)) + r"\d")
    if not size.isdigit() or any(sized.match(_plain(word)) for word in words):
        return None
    return family


def _holding(request: GpuRequest, nodes: list[NodeKind]) -> Discovery:
    """Say what the nodes in question hold, as far as they agree.

    A share of cores is a share of one node, so cores count only where the GPUs agree too.
    """
    cpus, gpus = {node.cpus for node in nodes}, {node.gpus for node in nodes}
    same = len(gpus) == 1
    return Discovery(
        request,
        node_cpus=min(cpus) if same and len(cpus) == 1 else None,
        node_gpus=min(gpus) if same else None,
        most_gpus=max(gpus),
    )


def _plain(word: str) -> str:
    """Strip a kind's name to what matters: `A100-80GB` and `a100_80` are the same."""
    return re.sub(r"(gb|[^a-z0-9])", "", word.lower().replace("nvidia", ""))
