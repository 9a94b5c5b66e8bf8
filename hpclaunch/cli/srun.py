"""`hpclaunch srun`: the same as sbatch, attached to the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import patience, say
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command()
@options.words
@options.grouped(
    nodes=options.NodeOptions,
    queue=options.SlurmOptions,
    recipe=options.RecipeOptions,
    sharding=options.ShardingOptions,
    run=options.RunOptions,
)
@click.option("--shell", is_flag=True, help="A shell on the first node, environment loaded.")
@options.dry_run
@options.force
@click.pass_obj
def srun(
    typed: Invocation,
    words: tuple[str, ...],
    nodes: options.NodeOptions,
    queue: options.SlurmOptions,
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    run: options.RunOptions,
    shell: bool,
    dry_run: bool,
    force: bool,
) -> int:
    """Run a fine-tune attached to this terminal.

    From a login node it gets an allocation; inside one (salloc, srun --pty) it uses that, on all
    its nodes. Ctrl-C stops everything. What stands after -- runs in place of the built-in trainer.
    """
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft

    if shell and typed.program:
        raise UserError("--shell opens a shell, and runs no program", "leave one of them out")
    asked = request(
        "srun", typed, words,
        recipe=recipe, sharding=sharding, run=run, nodes=nodes, queue=queue,
    )  # fmt: skip
    with patience():
        job = draft(asked)
    note = prediction(job, force=force)
    if dry_run:
        print(job.script, end="")
        return 0
    if shell:
        from hpclaunch.launch.shell import open_shell

        say("the nodes are yours, and charged, until you leave the shell: exit")
        open_shell(job)
    from hpclaunch.cli.attach import run_to_its_end

    return run_to_its_end(job, note=note)
