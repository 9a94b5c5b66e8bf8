"""`hpclaunch adopt`: take another's run as one's own."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import print_json, say

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.launch.adopt import Adopted
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record


@click.command(
    cls=Command,
    examples=[
        ("A colleague's run, and go on with it", "hpclaunch adopt /shared/runs/llama3-8b-lora-3"),
        (
            "Under another name, with the data where it lies here",
            "hpclaunch adopt ./fetched/my-run data.name=/data/chat.jsonl --name ours",
        ),
    ],
)
@click.argument(
    "arguments", nargs=-1, metavar="[RUN] [KEY=VALUE ...]", shell_complete=complete.runs
)
@options.grouped(nodes=options.NodeOptions, slurm=options.SlurmOptions, run=options.RunOptions)
@click.option(
    "--with-program",
    is_flag=True,
    help="Take its program or reward functions, its Python and its modules: they run as you.",
)
@options.as_json
@click.pass_obj
def adopt(
    typed: Invocation,
    /,
    arguments: tuple[str, ...],
    nodes: options.NodeOptions,
    slurm: options.SlurmOptions,
    run: options.RunOptions,
    with_program: bool,
    as_json: bool,
) -> None:
    """Take another's run, or one you copied, as your own.

    It makes a run folder with the recipe, the newest checkpoint, the final weights and the events
    of RUN, and a script written anew for you and for where you are. Nothing is started, and the
    run's folder is not changed. KEY=VALUE changes the recipe, as where its data lies here.

    What runs as its owner says is not taken: job script, program, reward functions, Python,
    modules, account, and the places that its checkpoints and curves are sent to.
    """
    from dataclasses import asdict

    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.resources import resources
    from hpclaunch.errors import UserError
    from hpclaunch.launch.adopt import Adoption, names_code
    from hpclaunch.launch.adopt import adopt as adopt_run
    from hpclaunch.run.find import find

    reference, overrides = recipe_and_overrides(arguments)
    if reference is None:
        raise UserError("no run is named", "give its folder: hpclaunch adopt FOLDER")
    requested = asdict(resources(nodes, slurm))
    folder, record = find(reference)
    if with_program:
        for each in names_code(folder, record):
            say(f"taken, and run as you: {each}")
    adoption = Adoption(
        name=run.name,
        runs_dir=run.runs_dir,
        site=slurm.site,
        venv=run.venv,
        modules=slurm.module,
        changes={key: value for key, value in requested.items() if value not in (None, False, ())},
        overrides=overrides,
        with_program=with_program,
        command=typed.command,
    )
    adopted = adopt_run(folder, record, adoption)
    if as_json:
        _print_json(adopted)
        return
    _say(adopted, folder, record, with_program)
    print(f"adopted {adopted.record.name}: {adopted.folder.root}")
    say(_next_step(adopted))


def _say(adopted: Adopted, folder: RunFolder, theirs: Record, with_program: bool) -> None:
    """Print what was not taken."""
    from hpclaunch.launch.adopt import names_code

    copied = adopted.copied
    for each in adopted.reset:
        say(f"not taken: {each}")
    if not with_program:
        for each in names_code(folder, theirs):
            say(f"not taken: {each}")
    if copied.left_out:
        shown = ", ".join(copied.left_out[:4])
        more = f" and {len(copied.left_out) - 4} more" if len(copied.left_out) > 4 else ""
        say(f"not taken, being no plain file of numbers or text: {shown}{more}")


def _next_step(adopted: Adopted) -> str:
    """Return what to do with the run."""
    name = adopted.record.name
    if adopted.folder.exit_code_file.exists() and adopted.copied.final:
        return f"its weights are in {adopted.folder.final}"
    begin = f"from {adopted.copied.checkpoint}" if adopted.copied.checkpoint else "from the start"
    return f"go on with it {begin}: hpclaunch resume {quote(name)}"


def _print_json(adopted: Adopted) -> None:
    copied = adopted.copied
    print_json(
        {
            "name": adopted.record.name,
            "folder": str(adopted.folder.root),
            "checkpoint": copied.checkpoint or None,
            "final": copied.final,
            "bytes": copied.bytes,
            "not_taken": [*adopted.reset, *copied.left_out],
        }
    )
