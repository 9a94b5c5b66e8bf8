"""`hpclaunch srun`: the same as sbatch, attached to the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, waiting_message
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    takes_program=True,
    examples=[
        (
            "Two nodes of four GPUs, with the log on this terminal",
            "hpclaunch srun llama3-8b-lora --nodes 2 --gpus 4 --gpu a100_80",
        ),
        ("A shell on the first node, to try things", "hpclaunch srun --gpus 4 --shell"),
    ],
)
@options.job
@click.option("--shell", is_flag=True, help="Open a shell on the first node instead.")
@options.dry_run
@options.force
@click.pass_obj
def srun(
    typed: Invocation,
    job: options.JobOptions,
    shell: bool,
    dry_run: bool,
    force: bool,
) -> int:
    """Run a fine-tune attached to this terminal.

    On a login node it requests an allocation; inside one (salloc, srun --pty) it runs on all of
    its nodes. Ctrl-C stops everything. A program after -- runs in place of the built-in trainer.
    """
    from dataclasses import replace

    from hpclaunch.cli.prediction import prediction
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft
    from hpclaunch.recipe import library

    if shell and typed.program:
        raise UserError("--shell opens a shell and runs no program", "leave one of them out")
    requested = request("srun", typed, job)
    if shell:  # which trains nothing yet, so that any recipe does
        requested = replace(requested, recipe=requested.recipe or library.TINY)
    with waiting_message():
        drafted = draft(requested)
    note = prediction(drafted, force=force)
    if dry_run:
        print(drafted.script, end="")
        return 0
    if shell:
        from hpclaunch.launch.shell import open_shell

        say("the nodes are allocated and charged until you leave the shell: exit")
        open_shell(drafted)
    from hpclaunch.cli.attach import run_to_its_end

    return run_to_its_end(drafted, note=note)
