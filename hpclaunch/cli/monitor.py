"""`hpclaunch monitor`: record a node while any program runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    takes_program=True,
    examples=[
        ("Around a script, on this node", "hpclaunch monitor --out rec -- ./train.sh"),
        ("In a batch script, on every node", "srun hpclaunch monitor --out rec -- ./train.sh"),
    ],
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the record.")
@click.option("--node", help="Name of this node; by default Slurm's, or the host's.")
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between samples.",
)
@click.pass_obj
def monitor(typed: Invocation, out: Path, node: str | None, interval: float) -> int:
    """Run any program and record this node.

    GPUs, CPUs, memory, disks and networks are sampled until it ends. The program keeps
    the terminal, its signals and its exit code. Several nodes may record into one folder; of
    several tasks on a node the first one records. Afterwards: hpclaunch report FOLDER.
    """
    from hpclaunch.errors import UserError
    from monitors.recorder.around import around, records_here

    if not typed.program:
        raise UserError(
            "there is no program to run", f"write it after --: monitor --out {out} -- ./train.sh"
        )
    if node is not None and (not node or "/" in node or node.startswith(".")):
        raise UserError(f"--node {node!r} cannot begin a file name")
    try:
        result = around(typed.program, out, node, interval)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename == typed.program[0]:
            raise UserError(f"{error.filename} cannot be started: {reason}") from None
        raise UserError(f"{out} cannot be written: {reason}", "name another folder") from None
    if not result.recorded:
        say(f"the recording in {out} ended early; the program was not affected")
    elif records_here():
        say(f"recorded in {out}; see: hpclaunch report {out}")
    return result.code
