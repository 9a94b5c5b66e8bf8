"""How a GPU type is requested on this cluster, and what its nodes hold, by what sinfo lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.site.gpu_names import kind_named, words_of
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import GpuRequest
from hpclaunch.slurm.nodes import NodeType, in_question


@frozen
class Discovery:
    """How to request the GPU type, and what its nodes hold."""

    request: GpuRequest
    nodes: tuple[NodeType, ...]
    """The nodes in question: those that the job can get."""

    @property
    def node_cpus(self) -> int | None:
        """CPU cores of a node; None where the nodes in question differ.

        A share of cores is a share of one node, so cores count only where the GPUs agree too.
        """
        cpus = {node.cpus for node in self.nodes}
        return cpus.pop() if self.node_gpus is not None and len(cpus) == 1 else None

    @property
    def node_gpus(self) -> int | None:
        """GPUs of a node; None where the nodes in question differ."""
        counts = {node.gpus for node in self.nodes}
        return counts.pop() if len(counts) == 1 else None

    @property
    def node_memory_mib(self) -> int | None:
        """Host memory of the smallest node in question in MiB, None where one is not known."""
        sizes = [node.memory_mib for node in self.nodes]
        known = [size for size in sizes if size is not None]
        return min(known) if known and len(known) == len(sizes) else None

    @property
    def most_gpus(self) -> int:
        """GPUs of the largest node in question: no node has more."""
        return max(node.gpus for node in self.nodes)

    @property
    def gpu_names(self) -> tuple[str, ...]:
        """What the cluster calls the GPUs of the nodes in question; empty: it has no names."""
        return tuple(sorted({name for node in self.nodes for name in names_of(node)}))


def names_of(node: NodeType) -> set[str]:
    """Return the cluster's names for a node's GPUs: its GRES types, else features."""
    types = {gpu_type for gpu_type, _ in node.gres if gpu_type}
    return types or {feature for feature in node.features if names_gpu(feature)}


def discover(
    kind: str | None, types: Sequence[NodeType], partition: str | None = None
) -> Discovery | None:
    """Match a GPU type with the cluster's features and GRES types, however a site writes them.

    `partition` (one, or several with commas) leaves only its nodes in question. Without it, they
    are those of the default partition; where that one has no such GPU and a single other has, the
    request names the other. None where no node in question has GPUs, and none of another partition.
    Raises UserError where sinfo names GPU types and not this one, or several partitions have it.
    """
    here = [node for node in in_question(types, partition) if node.gres]
    if partition or not any(node.default for node in types):
        return _discover(kind, here, f"partition {partition}" if partition else "this cluster")
    found = _matching(kind, here)
    if found:
        return found
    elsewhere = [node for node in types if node.gres and not node.default]
    partitions = sorted({node.partition for node in elsewhere})
    having = [
        name
        for name in partitions
        if _matching(kind, [node for node in elsewhere if node.partition == name])
    ]
    if not having:
        return _discover(kind, [*here, *elsewhere], "this cluster")
    if len(having) > 1:
        default = next(node.partition for node in types if node.default)
        raise UserError(
            f"the default partition {default} has no {f'GPU type {kind}' if kind else 'GPUs'}",
            f"name one that has: --partition {' or '.join(having)}",
        )
    chosen = _discover(kind, [node for node in elsewhere if node.partition == having[0]], "")
    return chosen and replace(chosen, request=_in_partition(chosen.request, having[0]))


def nodes_for(
    request: GpuRequest, types: Sequence[NodeType], partition: str | None
) -> Discovery | None:
    """Return what the nodes hold that a site profile's request can get; None where none fits."""
    found = [
        node
        for node in in_question(types, partition or request.partition)
        if node.gres
        and (request.constraint is None or _satisfies(node.features, request.constraint))
        and (request.gres_type is None or request.gres_type in {name for name, _ in node.gres})
    ]
    return Discovery(request, tuple(found)) if found else None


def _satisfies(features: Sequence[str], constraint: str) -> bool:
    """Whether a node's features fit a constraint of names joined by `&` and `|`.

    What has counts or brackets is more than that: it is taken to fit.
    """
    if re.search(r"[^\w.&|-]", constraint):
        return True
    return any(all(name in features for name in part.split("&")) for part in constraint.split("|"))


def _in_partition(request: GpuRequest, partition: str) -> GpuRequest:
    return GpuRequest(
        constraint=request.constraint,
        gres_type=request.gres_type,
        partition=partition,
        per_node=request.per_node,
    )


def _discover(kind: str | None, with_gpus: list[NodeType], where: str) -> Discovery | None:
    """Find the type among nodes with GPUs. Raises UserError where they are of other types."""
    if not with_gpus:
        return None
    found = _matching(kind, with_gpus)
    if found is None:
        raise UserError(
            f"no node of {where} has GPU type '{kind}'",
            f"its features and types: {', '.join(sorted(_names(with_gpus)))}; "
            "or say how in a site profile",
        )
    return found


def _names(nodes: Sequence[NodeType]) -> set[str]:
    """Return all that these nodes call their GPUs."""
    names = {gpu_type for node in nodes for gpu_type, _ in node.gres if gpu_type}
    return names | {feature for node in nodes for feature in node.features if names_gpu(feature)}


def _matching(kind: str | None, nodes: list[NodeType]) -> Discovery | None:
    """Find the type among nodes; any fits where the type is open, or they have no names.

    The site's own name of the type is tried first, then the driver's (Slurm's AutoDetect takes
    it), then the plain name of a type that comes in sizes.
    """
    if not nodes:
        return None
    names = _names(nodes)
    if kind is None or not names:
        return Discovery(GpuRequest(), tuple(nodes))
    return (
        _named(nodes, lambda name: _plain(name) == _plain(kind))
        or _named(nodes, lambda name: kind_named(name) == kind)
        or _of_family(kind, nodes, names)
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


def _named(nodes: Sequence[NodeType], fits: Callable[[str], bool]) -> Discovery | None:
    """Find the cluster's name that fits: a feature first, else a GRES type."""
    for node in nodes:
        for feature in node.features:
            if fits(feature):
                same = tuple(n for n in nodes if feature in n.features)
                return Discovery(GpuRequest(constraint=feature), same)
        for gres_type, _ in node.gres:
            if gres_type and fits(gres_type):
                same = tuple(n for n in nodes if gres_type in {t for t, _ in n.gres})
                return Discovery(GpuRequest(gres_type=gres_type), same)
    return None


def _of_family(kind: str, nodes: Sequence[NodeType], names: set[str]) -> Discovery | None:
    """Find a type that comes in sizes by its plain name: `a100` for an a100_80.

    Where another feature has the size (`hbm80g`), it is asked for, too. None where the cluster's
    names tell the sizes apart: the plain one may then be the other size.
    """
    variant = re.fullmatch(r"([a-z]+\d+)(?:_(\d+)|([ax]))", kind)  # a100_80, mi300x
    if variant is None:
        return None
    family, size, _ = variant.groups()
    told_apart = re.compile(re.escape(family) + (r"\d" if size else r"[a-z]"))
    whole = {name for name in names if words_of(name)}
    if any(told_apart.match(_plain(name)) or _is_variant(name, family) for name in whole):
        return None
    found = _named(nodes, lambda name: family in words_of(name) or _plain(name) == family)
    sizes = {each.partition("_")[2] for each in gpus() if each.startswith(f"{family}_")}
    features = {each for node in (found.nodes if found else ()) for each in node.features}
    sized = {each: _memory_in(each) for each in features}
    if not found or not sizes & set(sized.values()):
        return found
    for feature in sorted(each for each, memory in sized.items() if memory == size):
        constraint = "&".join(filter(None, (found.request.constraint, feature)))
        request = msgspec.structs.replace(found.request, constraint=constraint)
        return Discovery(request, tuple(node for node in found.nodes if feature in node.features))
    return None


def _is_variant(name: str, family: str) -> bool:
    """Whether a name is that of one of a family's types in the catalogue."""
    kind = kind_named(name)
    return kind is not None and re.fullmatch(rf"{family}(_\d+|[ax])", kind) is not None


def _memory_in(feature: str) -> str | None:
    """Return the gigabytes of a feature that has a GPU's memory: `hbm80g`, `GPU_MEM:80GB`."""
    found = re.fullmatch(r"(?:hbm|vram|gpu_?(?:mem(?:ory)?)?)\W*(\d+)gb?", feature.lower())
    return found.group(1) if found else None


def _plain(name: str) -> str:
    """Strip a type's name to what matters: `A100-80GB`, `a100-80g` and `a100_80` are the same."""
    sized = re.sub(r"(?<=[-_ ])(\d+)g\b", r"\1", name.lower().replace("nvidia", ""))
    return re.sub(r"(?<=\d)gb", "", re.sub(r"[^a-z0-9]", "", sized))
