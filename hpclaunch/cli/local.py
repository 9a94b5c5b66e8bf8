"""`hpclaunch local`: the same plan, config and training on this machine, without Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    takes_program=True,
    examples=[
        ("The tiny recipe, in a minute or two, on a GPU or two CPU processes", "hpclaunch local"),
        (
            "Your own data on all GPUs of this machine",
            "hpclaunch local llama3-8b-lora --dataset my.jsonl",
        ),
    ],
)
@options.recipe_and_changes
@options.grouped(
    recipe=options.RecipeOptions,
    sharding=options.ShardingOptions,
    nodes=options.LocalOptions,
    run=options.RunOptions,
)
@options.dry_run
@click.pass_obj
def local(
    typed: Invocation,
    arguments: tuple[str, ...],
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    nodes: options.LocalOptions,
    run: options.RunOptions,
    dry_run: bool,
) -> int:
    """Run a fine-tune on this machine.

    On its GPUs, or on CPU processes where it has none. Without a recipe it trains the tiny one,
    in a minute or two. A program after -- runs in place of the built-in trainer.
    """
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft

    here = options.NodeOptions(gpus=nodes.gpus, cpu_processes=nodes.cpu_processes, port=nodes.port)
    requested = options.JobOptions(arguments, recipe, sharding, here, run=run)
    job = draft(request("local", typed, requested))
    if dry_run:
        print(job.script, end="")
        return 0
    from hpclaunch.cli.attach import run_to_its_end

    return run_to_its_end(job)
