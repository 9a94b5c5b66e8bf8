"""From the options of a command to the values the rooms behind it take."""

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
    """Gather what is changed in the recipe."""
    return Changes(
        method=recipe.method,
        model=recipe.model,
        dataset=recipe.dataset,
        fsdp=None if sharding.fsdp is None else (1 if sharding.fsdp == "1" else 2),
        sharding=None if sharding.sharding == "auto" else sharding.sharding,
        offload=sharding.offload,
        checkpointing=sharding.checkpointing,
    )


def resources(nodes: NodeOptions, queue: SlurmOptions) -> Resources:
    """Gather how much is asked for."""
    return Resources(
        nodes=nodes.nodes,
        gpus=nodes.gpus,
        gpu=nodes.gpu,
        cpu_processes=nodes.cpu_processes,
        port=nodes.port,
        cpus=queue.cpus,
        sbatch_arguments=queue.sbatch_arguments,
        max_restarts=queue.max_restarts,
        **{name: getattr(queue, name) for name in rows()},
    )


def request(
    mode: Mode,
    typed: Invocation,
    words: Sequence[str],
    *,
    recipe: RecipeOptions,
    sharding: ShardingOptions,
    run: RunOptions,
    nodes: NodeOptions,
    queue: SlurmOptions | None = None,
) -> Request:
    """Gather a whole request. Raises UserError for words that are neither recipe nor change."""
    queue = queue or SlurmOptions()
    reference, overrides = recipe_and_overrides(words)
    return Request(
        mode=mode,
        recipe=reference,
        overrides=overrides,
        changes=changes(recipe, sharding),
        auto_sharding=sharding.sharding == "auto",
        auto_batch=sharding.batch == "auto",
        resources=resources(nodes, queue),
        site=queue.site,
        name=run.name,
        runs_dir=run.runs_dir,
        venv=run.venv,
        modules=queue.module,
        program=typed.program,
        command=typed.command,
    )
