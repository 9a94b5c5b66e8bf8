"""Ask sinfo how a GPU type is requested on this cluster, where no site profile says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from hpclaunch.errors import UserError
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import GpuRequest
from hpclaunch.slurm import commands


@dataclass(frozen=True)
class NodeType:
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
    """How to request the GPU type, and what its nodes hold."""

    request: GpuRequest
    node_cpus: int | None
    """CPU cores of a node; None where the nodes in question differ: which it will be is open."""
    node_gpus: int | None
    """GPUs of a node; None where the nodes in question differ."""
    most_gpus: int
    """GPUs of the largest node in question: no node has more."""


def node_types() -> list[NodeType]:
    """Return the node types that sinfo lists; none where it does not answer."""
    return parse_types(commands.ask("sinfo", "--noheader", "--exact", "--format=%R|%c|%f|%G"))


def parse_types(rows: str) -> list[NodeType]:
    """Read sinfo's rows `partition|cpus|features|gres`; rows of another form are left out."""
    return [node for row in rows.splitlines() if (node := _parse(row))]


def smallest(types: list[NodeType], partition: str | None = None) -> int | None:
    """Return the cores of the smallest node, of `partition` (or several with commas) if named."""
    partitions = set(partition.split(",")) if partition else None
    return min((n.cpus for n in types if not partitions or n.partition in partitions), default=None)


def _parse(row: str) -> NodeType | None:
    """Read one row of sinfo; None for one of another form."""
    fields = row.split("|")
    if len(fields) != 4 or not (cpus := re.match(r"\d+", fields[1])):
        return None
    features = tuple(f for f in fields[2].split(",") if f and f != "(null)")
    gres = tuple(
        (gpu_type or None, int(count))
        for gpu_type, count in re.findall(r"\bgpu(?::([\w.-]+?))?:(\d+)", fields[3])
    )
    return NodeType(fields[0], int(cpus.group()), features, gres)


def discover(
    kind: str | None, types: list[NodeType], partition: str | None = None
) -> Discovery | None:
    """Match a GPU type with the cluster's features and GRES types, tolerant of `-`, `_` and `gb`.

    `partition` (one, or several with commas) leaves only its nodes in question. None where no node
    of them has GPUs. Raises UserError where sinfo names GPU types and not this one.
    """
    partitions = set(partition.split(",")) if partition else None
    with_gpus = [n for n in types if n.gres and (not partitions or n.partition in partitions)]
    if not with_gpus:
        return None
    names = {gpu_type for node in with_gpus for gpu_type, _ in node.gres if gpu_type}
    names |= {f for node in with_gpus for f in node.features if names_gpu(f)}
    if kind is None or not names:
        return _holding(GpuRequest(), with_gpus)
    for name in (kind, _family(kind, names)):
        discovery = _named(name, with_gpus) if name else None
        if discovery:
            return discovery
    where = f"partition {partition}" if partition else "this cluster"
    raise UserError(
        f"no node of {where} has GPU type '{kind}'",
        f"its features and types: {', '.join(sorted(names))}; or say how in a site profile",
    )


def names_gpu(feature: str) -> bool:
    """Return whether a node's feature names a GPU, and not a rack, a CPU or a fabric.

    It does where it has the letters of a type in the catalogue before a number: `A100-80GB`.
    """
    return _gpu_pattern(tuple(gpus())).search(feature) is not None


@cache
def _gpu_pattern(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """Return what features of the catalogue's families look like: `a100`, `gh_200`, `RTX-4090`."""
    families = {letters for kind in kinds for letters in re.findall(r"([a-z]+)_?\d", kind)}
    # A dash after one letter is more likely a rack: `b-12`.
    starts = [letters + ("_?" if len(letters) == 1 else "[-_]?") for letters in sorted(families)]
    return re.compile(rf"(^|[^a-z])({'|'.join(starts)})\d{{1,4}}", re.IGNORECASE)


def _named(kind: str, nodes: list[NodeType]) -> Discovery | None:
    """Find the cluster's name of exactly this type: a feature first, else a GRES type."""
    for node in nodes:
        for feature in node.features:
            if _plain(feature) == _plain(kind):
                same = [n for n in nodes if feature in n.features]
                return _holding(GpuRequest(constraint=feature), same)
        for gres_type, _ in node.gres:
            if gres_type and _plain(gres_type) == _plain(kind):
                same = [n for n in nodes if gres_type in {t for t, _ in n.gres}]
                return _holding(GpuRequest(gres_type=gres_type), same)
    return None


def _family(kind: str, names: set[str]) -> str | None:
    """Return the plain name of a type that comes in sizes: `a100` of `a100_80`.

    None where the cluster's names tell the sizes apart: the plain one may then be the other size.
    """
    family, _, size = kind.partition("_")
    sized = re.compile(re.escape(_plain(family)) + r"\d")
    if not size.isdigit() or any(sized.match(_plain(name)) for name in names):
        return None
    return family


def _holding(request: GpuRequest, nodes: list[NodeType]) -> Discovery:
    """Return what the nodes in question hold, as far as they agree.

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


def _plain(name: str) -> str:
    """Strip a type's name to what matters: `A100-80GB` and `a100_80` are the same."""
    letters_and_digits = re.sub(r"[^a-z0-9]", "", name.lower().replace("nvidia", ""))
    return re.sub(r"(?<=\d)gb", "", letters_and_digits)
