"""`hpclaunch resume`: resume a run that ended early."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, say_if, waiting_message

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.diagnose.state import Status
    from hpclaunch.launch.start import Submitted
    from hpclaunch.render.job import Job
    from hpclaunch.run.record import Record


@click.command(
    cls=Command,
    examples=[
        ("The newest run, from its newest checkpoint", "hpclaunch resume"),
        (
            "On fewer nodes, with a longer time limit",
            "hpclaunch resume my-run --nodes 2 --time 12:00:00",
        ),
        ("After it ran out of host memory", "hpclaunch resume my-run --mem 0"),
    ],
)
@click.argument(
    "arguments", nargs=-1, metavar="[RUN] [KEY=VALUE ...]", shell_complete=complete.runs
)
@options.grouped(nodes=options.NodeOptions, slurm=options.SlurmOptions)
@click.option(
    "--venv", type=click.Path(path_type=Path), help="Another Python environment for the job."
)
@click.option("--force", is_flag=True, help="Resume although the dataset differs.")
@click.option("--wait", is_flag=True, help="Follow the job to its end; exit with its exit code.")
@options.as_json
@click.pass_obj
def resume(
    typed: Invocation,
    /,
    arguments: tuple[str, ...],
    nodes: options.NodeOptions,
    slurm: options.SlurmOptions,
    venv: Path | None,
    force: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Resume a run that ended early.

    It continues from its newest checkpoint after a stop, a cancel or a failure, by default on as
    many nodes and GPUs as before. KEY=VALUE may change fields of training, checkpoints, tracking
    and monitoring. Of a pipeline, the stages go on that are not done.
    """
    from dataclasses import asdict

    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.pipeline_start import resume_group
    from hpclaunch.cli.resources import resources
    from hpclaunch.diagnose.status import status
    from hpclaunch.launch.hand_edits import find_edits
    from hpclaunch.launch.resume import redraft
    from hpclaunch.run.find import find
    from hpclaunch.run.lock import alone
    from hpclaunch.run.owner import require_own
    from hpclaunch.run.record import read_record

    reference, overrides = recipe_and_overrides(arguments)
    requested = asdict(resources(nodes, slurm))
    changes = {name: value for name, value in requested.items() if value not in (None, False, ())}
    changed = bool(changes or overrides or venv or slurm.site or slurm.module or force or wait)
    if (code := resume_group(reference, typed.command, as_json, changed=changed)) is not None:
        return code
    folder, _ = find(reference)
    require_own(folder, "resume")
    with alone(folder):
        record = read_record(folder)
        with waiting_message():
            current = status(folder, record)
        _check_state(current)
        job = redraft(
            folder,
            record,
            changes=changes,
            overrides=overrides,
            force=force,
            command=typed.command,
            site=slurm.site,
            venv=venv,
            modules=slurm.module,
        )
        if current.progress.checkpoint is None and not any(folder.checkpoints.glob("step-*")):
            say("there is no checkpoint: the run starts from the beginning")
        say_if(find_edits(folder, record, job).message())
        _print_shape_note(record.nodes * record.processes_per_node, job.plan.processes)
        if record.mode != "sbatch":
            from hpclaunch.cli.attach import run_to_its_end

            return run_to_its_end(job, record)
        submitted = _submit(job, record, as_json)
    if not wait:
        return 0
    from hpclaunch.cli.follow import wait_for

    return wait_for(submitted.folder, submitted.record)


def _submit(job: Job, record: Record, as_json: bool) -> Submitted:
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.cli.sbatch import print_submitted
    from hpclaunch.launch.start import submit

    with waiting_message() as waiting:
        data = DataLines(waiting)
        submitted = submit(job, record, data=data)
    data.print()
    print_submitted(submitted, as_json)
    return submitted


def _check_state(current: Status) -> None:
    """Refuse a run that is active or has finished. Raises UserError."""
    from hpclaunch.errors import UserError

    if current.active:
        raise UserError(f"run {current.name} is {current.state}", "cancel it first, or let it run")
    if current.state == "unknown":
        raise UserError(
            f"it is unknown whether run {current.name} is running: {current.reason}",
            "try again later",
        )
    if current.state == "done":
        weights = f"its weights are in {current.final}" if current.final else ""
        raise UserError(f"run {current.name} is done", weights)


def _print_shape_note(before: int, now: int) -> None:
    if before != now:
        say(
            f"note: {now} processes instead of {before}: weights and optimizer state are kept, the "
            "order of the data and the random state differ, the global batch size may change"
        )
