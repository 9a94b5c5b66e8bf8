"""Ask the cluster itself how its GPUs are asked for, where no site profile says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpclaunch.cluster import slurm
from hpclaunch.errors import UserError
from hpclaunch.site.schema import GpuRequest

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
    node_gpus: int | None


def node_kinds() -> list[NodeKind]:
    """Give the kinds of nodes that sinfo lists."""
    return parse_kinds(slurm.ask("sinfo", "--noheader", "--exact", "--format=%R|%c|%f|%G"))


def parse_kinds(rows: str) -> list[NodeKind]:
    """Read sinfo's rows `partition|cpus|features|gres`; rows of another form are left out."""
    return [kind for row in rows.splitlines() if (kind := _parse(row))]


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


def discover(kind: str | None, kinds: list[NodeKind]) -> Discovery | None:
    """Match a GPU kind with the cluster's features and GRES types, tolerant of `-`, `_` and `gb`.

    None where the cluster tells nothing. Raises UserError where it names kinds and not this one.
    """
    with_gpus = [k for k in kinds if k.gres]
    if not with_gpus:
        return None
    if kind is None:
        return Discovery(GpuRequest(), *_smallest(with_gpus))
    for node in with_gpus:
        for feature in node.features:
            if _plain(feature) == _plain(kind):
                same = [k for k in with_gpus if feature in k.features]
                return Discovery(GpuRequest(constraint=feature), *_smallest(same))
        for gres_type, _ in node.gres:
            if gres_type and _plain(gres_type) == _plain(kind):
                same = [k for k in with_gpus if gres_type in {t for t, _ in k.gres}]
                return Discovery(GpuRequest(gres_type=gres_type), *_smallest(same))
    words = {t for k in with_gpus for t, _ in k.gres if t}
    words |= {f for k in with_gpus for f in k.features if _GPU_WORD.search(f)}
    named = sorted(words)
    if not named:
        return Discovery(GpuRequest(), *_smallest(with_gpus))
    raise UserError(
        f"no node of this cluster has GPU kind '{kind}'",
        f"its features and types: {', '.join(named)}; or say how in a site profile",
    )


def _smallest(nodes: list[NodeKind]) -> tuple[int, int]:
    """Give the CPU cores and GPUs that every one of these nodes has."""
    return min(node.cpus for node in nodes), min(node.gpus for node in nodes)


def _plain(word: str) -> str:
    """Strip a kind's name to what matters: `A100-80GB` and `a100_80` are the same."""
    return re.sub(r"(gb|[^a-z0-9])", "", word.lower().replace("nvidia", ""))
