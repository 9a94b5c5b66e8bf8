"""From the options of a command to the values that the packages below take."""

from __future__ import annotations

from collections.abc import Sequence

from hpclaunch.cli.invocation import Invocation, recipe_and_overrides
from hpclaunch.cli.options import (
    NodeOptions,
    RecipeOptions,
    RunOptions,
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
        sharding=None if sharding.sharding == "auto" else sharding.sharding,
        offload=sharding.offload,
        activation_checkpointing=sharding.activation_checkpointing,
    )


def resources(nodes: NodeOptions, slurm: SlurmOptions) -> Resources:
    """Return how much is requested."""
    return Resources(
        nodes=nodes.nodes,
        gpus=nodes.gpus,
        gpu=nodes.gpu,
        cpu_processes=nodes.cpu_processes,
        port=nodes.port,
        cpus=slurm.cpus,
        sbatch_arguments=slurm.sbatch_arguments,
        max_restarts=slurm.max_restarts,
        **{name: getattr(slurm, name) for name in rows()},
    )


def request(
    mode: Mode,
    typed: Invocation,
    arguments: Sequence[str],
    *,
    recipe: RecipeOptions,
    sharding: ShardingOptions,
    run: RunOptions,
    nodes: NodeOptions,
    slurm: SlurmOptions | None = None,
) -> Request:
    """Return the whole request. Raises UserError for arguments that are no recipe or change."""
    slurm = slurm or SlurmOptions()
    reference, overrides = recipe_and_overrides(arguments)
    return Request(
        mode=mode,
        recipe=reference,
        overrides=overrides,
        changes=changes(recipe, sharding),
        auto_sharding=sharding.sharding == "auto",
        auto_batch=sharding.batch == "auto",
        resources=resources(nodes, slurm),
        site=slurm.site,
        name=run.name,
        runs_dir=run.runs_dir,
        venv=run.venv,
        modules=slurm.module,
        program=typed.program,
        command=typed.command,
    )
