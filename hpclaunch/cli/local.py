"""`hpclaunch local`: the same plan, config and training on this machine, without Slurm."""

from __future__ import annotations

from typing import Annotated

import typer

from hpclaunch.cli import invocation
from hpclaunch.cli.options import (
    RecipeOptions,
    RunOptions,
    ShardingOptions,
    Words,
    changes,
    with_groups,
)


@with_groups
def local(
    context: typer.Context,
    words: Words = None,
    *,
    recipe: RecipeOptions,
    sharding: ShardingOptions,
    run: RunOptions,
    gpus: Annotated[int | None, typer.Option("--gpus", help="GPUs; by default all.")] = None,
    cpu_processes: Annotated[
        int | None,
        typer.Option("--cpu-processes", help="CPU processes; 2 where there is no GPU."),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Rendezvous port.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the script.")
    ] = False,
) -> None:
    """Run a fine-tune on this machine: on its GPUs, or on CPU processes where it has none.

    Without a recipe: the tiny one, in a minute or two.
    """
    from hpclaunch.cli.attach import run_to_its_end
    from hpclaunch.cluster.draft import draft
    from hpclaunch.cluster.request import Request
    from hpclaunch.plan.request import Resources

    typed = invocation.of(context)
    reference, overrides = invocation.recipe_and_overrides(words)
    job = draft(
        Request(
            mode="local",
            recipe=reference,
            overrides=overrides,
            changes=changes(recipe, sharding),
            resources=Resources(gpus=gpus, cpu_processes=cpu_processes, port=port),
            name=run.name,
            runs_dir=run.runs_dir,
            venv=run.venv,
            program=typed.program,
            command=typed.command,
        )
    )
    if dry_run:
        print(job.script, end="")
        return
    raise typer.Exit(run_to_its_end(job))
