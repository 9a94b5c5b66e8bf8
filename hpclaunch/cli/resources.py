"""From the options of a command to the values that the packages below take."""

from __future__ import annotations

import re

from hpclaunch.cli.invocation import Invocation, recipe_and_overrides
from hpclaunch.cli.options import (
    JobOptions,
    NodeOptions,
    RecipeOptions,
    ShardingOptions,
    SlurmOptions,
)
from hpclaunch.launch.request import Changes, Request
from hpclaunch.plan.resources import Mode, Resources
from hpclaunch.site.sbatch_options import rows


def changes(recipe: RecipeOptions, sharding: ShardingOptions) -> Changes:
    """Return what is changed in the recipe."""
    return Changes(
        method=recipe.method,
        model=recipe.model,
        dataset=recipe.dataset,
        fsdp=None if sharding.fsdp is None else (1 if sharding.fsdp == "1" else 2),
        engine=sharding.engine,
        sharding=None if sharding.sharding == "auto" else sharding.sharding,
        offload=sharding.offload,
        activation_checkpointing=sharding.activation_checkpointing,
        context_parallel=sharding.context_parallel,
        tensor_parallel=sharding.tensor_parallel,
    )


def gpu_type(name: str | None) -> str | None:
    """Return a GPU type of the catalogue by the name that its driver or Slurm gives it, too.

    Any other name comes back as it is, for what knows the site to refuse.
    """
    if name is None:
        return None
    from hpclaunch.site.gpu_names import kind_named
    from hpclaunch.site.load import gpus

    one = re.fullmatch(r"[\w .()-]+", name)  # not several: a100_80,h100
    return name if name in gpus() or not one else kind_named(name) or name


def resources(nodes: NodeOptions, slurm: SlurmOptions) -> Resources:
    """Return how much is requested."""
    return Resources(
        nodes=nodes.nodes,
        gpus=nodes.gpus,
        gpu=gpu_type(nodes.gpu),
        cpu_processes=nodes.cpu_processes,
        port=nodes.port,
        cpus=slurm.cpus,
        exclusive=slurm.exclusive,
        sbatch_arguments=slurm.sbatch_arguments,
        max_restarts=slurm.max_restarts,
        **{name: getattr(slurm, name) for name in rows()},
    )


def request(mode: Mode, typed: Invocation, job: JobOptions) -> Request:
    """Return the whole request. Raises UserError for arguments that are no recipe or change."""
    reference, overrides = recipe_and_overrides(job.arguments)
    return Request(
        mode=mode,
        recipe=reference,
        overrides=overrides,
        changes=changes(job.recipe, job.sharding),
        auto_sharding=job.sharding.sharding == "auto",
        auto_batch=job.sharding.batch == "auto",
        resources=resources(job.nodes, job.slurm),
        site=job.slurm.site,
        name=job.run.name,
        runs_dir=job.run.runs_dir,
        venv=job.run.venv,
        test_run=job.run.test_run,
        modules=job.slurm.module,
        program=typed.program,
        command=typed.command,
    )
