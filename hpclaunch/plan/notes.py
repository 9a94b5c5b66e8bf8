"""Notes on a plan before it is submitted: what a careful colleague would point out.

One small function a rule: it returns a PlanNote, or None. Notes warn; what cannot work at all is
refused where it is decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from hpclaunch.frozen import frozen
from hpclaunch.plan.layout import Layout
from hpclaunch.plan.resources import Resources
from hpclaunch.plan.slurm_options import Option
from hpclaunch.predict.optimizer import unknown_optimizer
from hpclaunch.recipe.global_batch import ACCUMULATION, BATCH, FIELD, differs
from hpclaunch.recipe.loading import whole_because
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Site

QUANTIZED_GB_PER_BILLION = 0.55
"""GB of nf4 weights for 10^9 parameters, with the embeddings and head that stay in 16 bits: 38.4 GB
of a Llama 3 70B (34.2 + 4.2)."""

LOADABLE = 0.9
"""Share of a GPU's memory that loading can use; the rest is context and workspace."""


@frozen
class PlanNote:
    """A warning: what was seen, and the exact change to make."""

    evidence: str
    fix: str


@frozen
class PlanInput:
    """What the rules check."""

    recipe: Recipe
    site: Site
    resources: Resources
    layout: Layout
    own_program: bool
    kind_by_count: str = ""
    """A GPU type was named, and this is why it is not known how the cluster is asked for it."""


Rule = Callable[[PlanInput], PlanNote | None]


def hybrid_on_one_node(planned: PlanInput) -> PlanNote | None:
    """Hybrid means copies across nodes; one node has one copy."""
    if planned.recipe.fsdp.sharding == "hybrid" and planned.resources.node_count == 1:
        return PlanNote("hybrid sharding on one node is full sharding", "leave --sharding out")
    return None


def full_shard_on_sockets(planned: PlanInput) -> PlanNote | None:
    """Full sharding moves all parameters twice a micro-batch: across nodes, that needs a fabric."""
    across = planned.layout.sharding in {"full", "grad"} and planned.resources.node_count > 1
    if across and planned.site.network == "ethernet" and not planned.own_program:
        return PlanNote(
            "full sharding gathers the whole model over Ethernet twice every micro-batch",
            "try --sharding hybrid, or --method qlora with --sharding hybrid",
        )
    return None


def quantized_while_loading(planned: PlanInput) -> PlanNote | None:
    """Whole loading needs the 4-bit model on every GPU, before FSDP shards it."""
    gpu, billions = gpus().get(planned.resources.gpu or ""), _billions(planned.recipe.model.name)
    if planned.recipe.method.kind != "qlora" or planned.own_program or not (gpu and billions):
        return None
    reason = whole_because(planned.recipe)
    if reason is None or planned.layout.sharding == "none":
        return None
    whole = billions * QUANTIZED_GB_PER_BILLION
    if whole <= gpu.memory_gb * LOADABLE:
        return None
    return PlanNote(
        f"each GPU quantizes the whole model while it loads ({reason}), some {whole:.0f} GB before "
        f"it is sharded: {gpu.name} is likely too small",
        "take GPUs with more memory, or --method lora with --sharding full",
    )


def _billions(model: str) -> float | None:
    """Read a model's size off its name (`Meta-Llama-3-70B`), in 10^9 parameters."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", model.rpartition("/")[2].lower())
    return float(found.group(1)) if found else None


def kind_not_asked_for(planned: PlanInput) -> PlanNote | None:
    """GPUs by count alone may come as another kind than the plan is for."""
    if not planned.kind_by_count:
        return None
    return PlanNote(
        f"the job asks for GPUs by count, and not for {planned.resources.gpu}: "
        f"{planned.kind_by_count}, and site {planned.site.name} does not say how",
        "submit from the login node, or write it into a site profile (gpus: ...)",
    )


def old_fsdp(planned: PlanInput) -> PlanNote | None:
    """FSDP 1 is on its way out."""
    if planned.layout.version == 1:
        return PlanNote(
            "FSDP 1 is deprecated in PyTorch", "use --fsdp 2 unless a file of old needs it"
        )
    return None


def old_fsdp_adapter(planned: PlanInput) -> PlanNote | None:
    """FSDP 1 makes a unit of every adapter matrix: many small collectives."""
    if planned.layout.version == 1 and planned.recipe.method.kind != "full":
        return PlanNote(
            "FSDP 1 gathers each adapter matrix by itself: some twelve times the collectives",
            "use --fsdp 2",
        )
    return None


def optimizer_not_counted(planned: PlanInput) -> PlanNote | None:
    """Nothing is known of some optimizers."""
    unknown = unknown_optimizer(planned.recipe)
    if unknown is None or planned.own_program:
        return None
    return PlanNote(
        f"unknown: {unknown}", "measure it: a short run's report has the memory and the step time"
    )


def no_checkpoints(planned: PlanInput) -> PlanNote | None:
    """A job that ends early keeps what its last checkpoint held."""
    if planned.recipe.checkpoints.every_steps == 0 and not planned.own_program:
        return PlanNote(
            "no checkpoints: a stopped job keeps nothing", "set checkpoints.every_steps=20"
        )
    return None


def global_batch_not_held(planned: PlanInput) -> PlanNote | None:
    """Batch and accumulation that are set win over the global batch."""
    resources = planned.resources
    ranks = resources.node_count * (resources.cpu_processes or resources.gpus or 1)
    made = None if planned.own_program else differs(planned.recipe, ranks)
    if made is None:
        return None
    training = planned.recipe.training
    return PlanNote(
        f"training.{FIELD}: {training[FIELD]} is not what a step learns from: batch "
        f"{training[BATCH]}, accumulation {training[ACCUMULATION]} on {ranks} ranks are {made}",
        f"leave out training.{BATCH} or training.{ACCUMULATION}",
    )


def no_mail(recipe: Recipe, slurm: bool) -> tuple[PlanNote, ...]:
    """Slurm writes the mail: without it nobody does."""
    if slurm or recipe.notify.mail is None:
        return ()
    evidence = "notify.mail: Slurm writes the mail, and a local run has no Slurm"
    return (PlanNote(evidence, "use notify.webhook=true"),)


def no_time_limit(options: Iterable[Option]) -> tuple[PlanNote, ...]:
    """Without `--time` the partition's default holds: minutes at some sites, no end at others."""
    if any(option.flag == "--time" for option in options):
        return ()
    evidence = "no time limit is asked for: the partition's own holds, which may be minutes"
    return (PlanNote(evidence, "name --time, or time: in the site profile"),)


def deepspeed_on_cpus(planned: PlanInput) -> PlanNote | None:
    """Without CPUs named to it, accelerate picks no backend for DeepSpeed's ranks there."""
    alone = planned.own_program and planned.layout.engine == "deepspeed"
    if not (alone and planned.resources.cpu_processes):
        return None
    return PlanNote(
        "on CPUs each of DeepSpeed's ranks trains alone unless the program names their backend",
        'Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")]), or '
        'ddp_backend="gloo" of TrainingArguments',
    )


RULES: tuple[Rule, ...] = (
    hybrid_on_one_node,
    full_shard_on_sockets,
    quantized_while_loading,
    kind_not_asked_for,
    old_fsdp,
    old_fsdp_adapter,
    optimizer_not_counted,
    no_checkpoints,
    global_batch_not_held,
    deepspeed_on_cpus,
)


def plan_notes(
    recipe: Recipe,
    site: Site,
    resources: Resources,
    layout: Layout,
    own_program: bool,
    kind_by_count: str = "",
) -> Iterator[PlanNote]:
    """Yield the notes of all rules, in their order."""
    planned = PlanInput(recipe, site, resources, layout, own_program, kind_by_count)
    for rule in RULES:
        note = rule(planned)
        if note:
            yield note
