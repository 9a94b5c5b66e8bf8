"""What a careful colleague would say about the plan before it is submitted.

One small function a rule: it gives a Finding, or nothing. Findings warn; what cannot work at all
is refused where it is decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hpclaunch.plan.layout import Layout
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Site

QUANTIZED_GB_PER_BILLION = 0.55
"""GB of nf4 weights for 10^9 parameters, with the embeddings and head that stay in 16 bits: 38.4 GB
of a Llama 3 70B (34.2 + 4.2)."""

LOADABLE = 0.9
"""Share of a GPU's memory that loading can use; the rest is context and workspace."""


@dataclass(frozen=True)
class Finding:
    """Something worth knowing: what was seen, and the exact change to make."""

    evidence: str
    fix: str


@dataclass(frozen=True)
class PlanInput:
    """What a rule looks at."""

    recipe: Recipe
    site: Site
    resources: Resources
    layout: Layout
    own_program: bool
    kind_by_count: bool = False
    """A GPU kind was named, and nobody knows how the cluster is asked for it."""


Rule = Callable[[PlanInput], Finding | None]


def hybrid_on_one_node(case: PlanInput) -> Finding | None:
    """Hybrid means copies across nodes; one node has one copy."""
    if case.recipe.fsdp.sharding == "hybrid" and case.resources.node_count == 1:
        return Finding("hybrid sharding on one node is full sharding", "leave --sharding out")
    return None


def full_shard_on_sockets(case: PlanInput) -> Finding | None:
    """Full sharding moves all weights twice a micro-batch: across nodes, that wants a fabric."""
    across = case.layout.sharding in {"full", "grad"} and case.resources.node_count > 1
    if across and case.site.network == "ethernet" and not case.own_program:
        return Finding(
            "full sharding gathers the whole model over Ethernet twice every micro-batch",
            "try --sharding hybrid, or --method qlora with --sharding hybrid",
        )
    return None


def packing_without_flash(case: PlanInput) -> Finding | None:
    """Packed samples see each other unless the attention kernel keeps them apart."""
    packing = case.recipe.training.get("packing")
    if packing and case.recipe.model.attention in {"sdpa", "eager"}:
        return Finding(
            f"packing with {case.recipe.model.attention} attention lets samples see each other",
            "set model.attention=flash_attention_2, or training.packing=false",
        )
    return None


def quantized_while_loading(case: PlanInput) -> Finding | None:
    """Loading wants the whole 4-bit model on every GPU, before FSDP shares it out."""
    card, billions = gpus().get(case.resources.gpu or ""), _billions(case.recipe.model.name)
    if case.recipe.method.kind != "qlora" or case.own_program or not (card and billions):
        return None
    whole = billions * QUANTIZED_GB_PER_BILLION
    if whole <= card.memory_gb * LOADABLE:
        return None
    return Finding(
        f"each GPU quantizes the whole model while it loads, some {whole:.0f} GB before it is "
        f"sharded: {card.name} is likely too small",
        "take GPUs with more memory, or --method lora with --sharding full",
    )


def _billions(model: str) -> float | None:
    """Read a model's size off its name (`Meta-Llama-3-70B`), in 10^9 parameters."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", model.rpartition("/")[2].lower())
    return float(found.group(1)) if found else None


def kind_not_asked_for(case: PlanInput) -> Finding | None:
    """GPUs by count alone may come as another kind than the plan is for."""
    if not case.kind_by_count:
        return None
    return Finding(
        f"the job asks for GPUs by count, and not for {case.resources.gpu}: there is no Slurm here "
        f"to ask, and site {case.site.name} does not say how",
        "submit from the login node, or write it into a site profile (gpus: ...)",
    )


def old_fsdp(case: PlanInput) -> Finding | None:
    """FSDP 1 is on its way out."""
    if case.layout.version == 1:
        return Finding(
            "FSDP 1 is deprecated in PyTorch", "use --fsdp 2 unless a file of old needs it"
        )
    return None


def old_fsdp_adapter(case: PlanInput) -> Finding | None:
    """FSDP 1 makes a unit of every adapter matrix: many small collectives."""
    if case.layout.version == 1 and case.recipe.method.kind != "full":
        return Finding(
            "FSDP 1 gathers each adapter matrix by itself: some twelve times the collectives",
            "use --fsdp 2",
        )
    return None


def no_checkpoints(case: PlanInput) -> Finding | None:
    """A job that ends early keeps what its last checkpoint held."""
    if case.recipe.checkpoints.every_steps == 0 and not case.own_program:
        return Finding(
            "no checkpoints: a stopped job keeps nothing", "set checkpoints.every_steps=20"
        )
    return None


RULES: tuple[Rule, ...] = (
    hybrid_on_one_node,
    full_shard_on_sockets,
    packing_without_flash,
    quantized_while_loading,
    kind_not_asked_for,
    old_fsdp,
    old_fsdp_adapter,
    no_checkpoints,
)


def findings(
    recipe: Recipe,
    site: Site,
    resources: Resources,
    layout: Layout,
    own_program: bool,
    kind_by_count: bool = False,
) -> Iterator[Finding]:
    """Return what the rules find, in their order."""
    case = PlanInput(recipe, site, resources, layout, own_program, kind_by_count)
    for rule in RULES:
        finding = rule(case)
        if finding:
            yield finding
