"""`hpclaunch srun`: the same as sbatch, attached to the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from hpclaunch.cli import invocation
from hpclaunch.cli.options import (
    NodeOptions,
    QueueOptions,
    RecipeOptions,
    RunOptions,
    ShardingOptions,
    Words,
    changes,
    resources,
    with_groups,
)


@with_groups
def srun(
    context: typer.Context,
    words: Words = None,
    *,
    recipe: RecipeOptions,
    nodes: NodeOptions,
    queue: QueueOptions,
    sharding: ShardingOptions,
    run: RunOptions,
    shell: Annotated[
        bool, typer.Option("--shell", help="A shell on the first node, environment loaded.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the script.")
    ] = False,
) -> None:
    """Run a fine-tune attached to this terminal, on one node or many.

    From a login node it gets an allocation; inside one (salloc, srun --pty) it uses that, on all
    its nodes. Ctrl-C stops everything.
    """
    from hpclaunch.cli.attach import run_to_its_end
    from hpclaunch.cluster.draft import draft
    from hpclaunch.cluster.request import Request

    typed = invocation.of(context)
    reference, overrides = invocation.recipe_and_overrides(words)
    job = draft(
        Request(
            mode="srun",
            recipe=reference,
            overrides=overrides,
            changes=changes(recipe, sharding),
            resources=resources(nodes, queue),
            site=queue.site,
            name=run.name,
            runs_dir=run.runs_dir,
            venv=run.venv,
            modules=tuple(queue.module or ()),
            program=typed.program,
            command=typed.command,
        )
    )
    if dry_run:
        print(job.script, end="")
        return
    if shell:
        from hpclaunch.cluster.shell import open_shell

        open_shell(job)
    raise typer.Exit(run_to_its_end(job))
