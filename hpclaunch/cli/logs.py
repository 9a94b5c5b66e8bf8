"""`hpclaunch logs`: the output of the job, its nodes and its ranks."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.lines import Line
    from hpclaunch.run.record import Record


@click.command(
    cls=Command,
    examples=[
        ("Follow the newest run", "hpclaunch logs -f"),
        ("One rank of a run", "hpclaunch logs my-run --rank 3"),
    ],
)
@options.run
@click.option("-f", "--follow", is_flag=True, help="Follow until the job has ended.")
@click.option("--node", help="Only this node: its name, or its number (0 is the first).")
@click.option("--rank", type=int, help="Only this global rank.")
def logs(run: str | None, follow: bool, node: str | None, rank: int | None) -> None:
    """Print the log of a run.

    Each line begins with the node and process that printed it.
    """
    from hpclaunch.cli.follow import printer, state_printer
    from hpclaunch.cli.progress_line import ProgressLine
    from hpclaunch.errors import UserError
    from hpclaunch.launch.current_job import current
    from hpclaunch.launch.follow import LogReader
    from hpclaunch.launch.follow import follow as follow_log
    from hpclaunch.launch.local_process import alive
    from hpclaunch.run.find import find

    folder, record = find(run)
    wanted = _filter(folder, record, node, rank)
    print_line = printer(folder, record, whole=True)

    def show(line: Line) -> None:
        if wanted(line):
            print_line(line)

    reader = LogReader(folder)
    if follow and (record.job_id or record.pid):
        record, _ = current(folder, record)
        print_state = state_printer(record)
        with ProgressLine() as moving:
            above = moving.above(folder, show)
            follow_log(folder, record.job_id, above, print_state, reader, lambda: alive(record))
        return
    if folder.log() is None:
        raise UserError(
            f"run {record.name} has no log yet", f"hpclaunch status {quote(record.name)}"
        )
    for line in reader.read():
        show(line)
    for line in reader.rest():
        show(line)


def _filter(
    folder: RunFolder, record: Record, node: str | None, rank: int | None
) -> Callable[[Line], bool]:
    """Return what decides which lines are shown. Raises UserError for a node or rank not there."""
    from hpclaunch.errors import UserError

    ranks = record.nodes * record.processes_per_node
    if rank is not None and not 0 <= rank < ranks:
        raise UserError(f"--rank {rank}: this run has ranks 0 to {ranks - 1}")
    number: int | None = None
    if node is not None:
        names = folder.node_names()
        if node in names:
            number = names.index(node)
        elif node.isdigit() and int(node) < record.nodes:
            number = int(node)
        else:
            valid = ", ".join(names) or f"0 to {record.nodes - 1}"
            raise UserError(f"--node {node}: no such node in this run", f"valid: {valid}")

    if rank is not None and number is not None and rank // record.processes_per_node != number:
        home = rank // record.processes_per_node
        raise UserError(f"--rank {rank} is not on --node {node}", f"it is on --node {home}")

    def wanted(line: Line) -> bool:
        if rank is not None and line.rank(record.processes_per_node) != rank:
            return False
        return number is None or line.node == number

    return wanted
