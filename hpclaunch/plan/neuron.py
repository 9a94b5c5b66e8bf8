"""AWS Trainium (GPU type trn1): for programs of the user's own, started by torchrun.

What AWS's guides for several trn1 nodes set is set: EFA between nodes, and glibc's arenas, which
otherwise grow into the host's memory. The graphs' compiler takes its cache from the script.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import Launch, Resources
from hpclaunch.recipe.schema import Fsdp, Recipe
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Site

PRECOMPILE = "neuron_parallel_compile"
"""In front of a program it traces a short run, compiles its graphs and fills the cache."""


def on_neuron(gpu: str | None, site: Site | None = None) -> bool:
    """Whether a GPU type, or without one the only type of a site, is a NeuronCore."""
    if gpu is None and site is not None and len(site.gpus) == 1:
        gpu = next(iter(site.gpus))
    kind = gpus().get(gpu or "")
    return kind is not None and kind.neuron


def split_program(program: Sequence[str]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a program is only compiled for, and its words without that."""
    precompiled = tuple(program[:1]) == (PRECOMPILE,)
    return precompiled, tuple(program[precompiled:])


def check_neuron(recipe: Recipe, site: Site, resources: Resources, launch: Launch) -> None:
    """Refuse what Trainium does not run, and options that would have no effect. Raises UserError.

    And neuron_parallel_compile on other machines.
    """
    precompiled, program = split_program(launch.program)
    if resources.cpu_processes or not on_neuron(resources.gpu, site):
        if precompiled:
            raise UserError(f"{PRECOMPILE} compiles for AWS Trainium", "add --gpu trn1")
        return
    kind = resources.gpu or next(iter(site.gpus))
    option = f"--gpu {kind}"
    own = launch.program and launch.stage is None
    if not own or (program[:1] == ("-m",) and "".join(program[1:2]).startswith("hpclaunch.")):
        refuse_neuron(kind)
    if not program:
        raise UserError(f"{PRECOMPILE} names no program", f"write -- {PRECOMPILE} train.py ...")
    if launch.mode == "local":
        raise UserError(f"{option}: a local run counts NVIDIA GPUs", "use sbatch or srun")
    if (
        recipe.fsdp != Fsdp()
        or recipe.training["gradient_checkpointing"]
        or recipe.model.dtype != "bfloat16"
    ):
        raise UserError(
            f"{option}: torchrun starts the program, so what the accelerate config holds "
            "(sharding, engine, offload, dtype, activation checkpointing) has no effect",
            "leave them out, and set them in the program",
        )


def refuse_neuron(gpu: str | None) -> None:
    """Refuse a NeuronCore for what this package trains or computes itself. Raises UserError."""
    if on_neuron(gpu):
        raise UserError(
            f"--gpu {gpu}: hpclaunch's own trainer and stages run on NVIDIA GPUs and on CPUs, not "
            "on AWS Trainium",
            f"run a program of your own: --gpu {gpu} --gpus 32 -- train.py",
        )


def environment(nodes: int) -> dict[str, str]:
    """Return the variables of a job on `nodes` nodes."""
    values = {"MALLOC_ARENA_MAX": "64"}
    if nodes > 1:
        values |= {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"}
    return values
