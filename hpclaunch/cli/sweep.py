"""`hpclaunch sweep`: runs of one recipe with different values, as a job array."""

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
        (
            "Six runs, three at once",
            "hpclaunch sweep mine.yaml training.seed=1,2 method.lora.r=8,16 --parallel 3",
        ),
        ("What came of them, and the best", "hpclaunch sweep --table mine-sweep-1"),
        (
            "Those that failed, once more",
            "hpclaunch sweep --resubmit mine-sweep-1 --time 12:00:00",
        ),
        ("On this machine, one after another", "hpclaunch sweep tiny training.seed=1,2 --local"),
    ],
)
@options.job
@click.option("--parallel", type=int, help="Runs at once, at most; by default all.")
@click.option("--local", is_flag=True, help="On this machine, one run after another.")
@click.option("--table", metavar="SWEEP", help="Print what came of a sweep, and the best run.")
@click.option(
    "--resubmit", metavar="SWEEP", help="Submit the runs again that failed or ended early."
)
@options.dry_run
@options.force
@options.as_json
@click.pass_obj
def sweep(
    typed: Invocation,
    job: options.JobOptions,
    parallel: int | None,
    local: bool,
    table: str | None,
    resubmit: str | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Run a recipe with every combination of some values.

    A key with several values, KEY=A,B, makes a run for each; several such keys make a run for each
    combination. All are checked before anything is submitted. On Slurm they are one job array with
    a run folder each, without it they run here one after another. A comma inside of brackets or
    quotes does not separate values.
    """
    from hpclaunch.cli import sweep_start, sweep_table
    from hpclaunch.errors import UserError

    if table is not None or resubmit is not None:
        if table is not None and resubmit is not None:
            raise UserError("--table and --resubmit exclude each other", "give one")
        if job.arguments or dry_run:
            raise UserError(
                f"--{'table' if resubmit is None else 'resubmit'} takes the name of a sweep alone",
                "leave recipe, values and --dry-run out",
            )
        if table is not None:
            return sweep_table.print_table(table, as_json)
        return sweep_start.resubmit(typed, str(resubmit), job, as_json)
    return sweep_start.start(
        typed, job, parallel=parallel, local=local, dry_run=dry_run, force=force, as_json=as_json
    )
