"""`hpclaunch local`: the same plan, config and training on this machine, without Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command()
@options.words
@click.option("--gpus", type=int, help="GPUs; by default all.")
@click.option("--cpu-processes", type=int, help="CPU processes; 2 where there is no GPU.")
@click.option("--port", type=int, help="Rendezvous port; by default one that is free.")
@options.grouped(
    recipe=options.RecipeOptions,
    sharding=options.ShardingOptions,
    run=options.RunOptions,
)
@options.dry_run
@click.pass_obj
def local(
    typed: Invocation,
    words: tuple[str, ...],
    gpus: int | None,
    cpu_processes: int | None,
    port: int | None,
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    run: options.RunOptions,
    dry_run: bool,
) -> int:
    """Run a fine-tune on this machine.

    On its GPUs, or on CPU processes where it has none.

    Without a recipe: the tiny one, in a minute or two. What stands after -- runs in place of the
    built-in trainer.
    """
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft

    nodes = options.NodeOptions(gpus=gpus, cpu_processes=cpu_processes, port=port)
    asked = request("local", typed, words, recipe=recipe, sharding=sharding, run=run, nodes=nodes)
    job = draft(asked)
    if dry_run:
        print(job.script, end="")
        return 0
    from hpclaunch.cli.attach import run_to_its_end

    return run_to_its_end(job)
