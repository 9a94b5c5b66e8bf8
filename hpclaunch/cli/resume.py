"""`hpclaunch resume`: go on with a run that ended before its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import patience, say

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.diagnose.state import Status


@click.command()
@click.argument("words", nargs=-1, metavar="[RUN] [KEY=VALUE ...]")
@click.option("--nodes", type=int, help="On another number of nodes.")
@click.option("--gpus", type=int, help="With another number of GPUs a node.")
@click.option("--gpu", help="On another kind of GPU.")
@click.option("--cpu-processes", type=int, help="With another number of CPU processes a node.")
@click.option("--time", help="With another time limit.")
@click.option("--max-restarts", type=int, help="How often it may go on by itself.")
@click.option("--force", is_flag=True, help="Go on with another dataset.")
@click.option("--wait", is_flag=True, help="Follow to the end; exit with the job's code.")
@options.as_json
@click.pass_obj
def resume(
    typed: Invocation,
    /,
    words: tuple[str, ...],
    force: bool,
    wait: bool,
    as_json: bool,
    **asked: Any,
) -> int:
    """Go on with a run that ended early.

    From its newest checkpoint, after a stop, a cancel or a failure. In its own shape by default;
    fields of training, checkpoints, tracking and monitoring may change.
    """
    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.launch.resume import redraft
    from hpclaunch.run.find import find

    reference, overrides = recipe_and_overrides(words)
    folder, record = find(reference)
    with patience():
        found = look(folder, record)
    _check_state(found)
    changes = {name: value for name, value in asked.items() if value is not None}
    job = redraft(
        folder, record, changes=changes, overrides=overrides, force=force, command=typed.command
    )
    if found.progress.checkpoint is None and not any(folder.checkpoints.glob("step-*")):
        say("there is no checkpoint: it starts from the beginning")
    _say_shape(record.nodes * record.processes_per_node, job.plan.processes)
    if record.mode != "sbatch":
        from hpclaunch.cli.attach import run_to_its_end

        return run_to_its_end(job, record)
    from hpclaunch.cli.sbatch import print_submitted
    from hpclaunch.launch.start import submit

    with patience():
        done = submit(job, record)
    print_submitted(done, as_json)
    if not wait:
        return 0
    from hpclaunch.cli.follow import wait_for

    return wait_for(done.folder, done.record)


def _check_state(found: Status) -> None:
    """Refuse a run that is at work or has nothing left to do. Raises UserError."""
    from hpclaunch.errors import UserError

    if found.active:
        raise UserError(f"run {found.name} is {found.state}", "cancel it first, or let it go on")
    if found.state == "unknown":
        raise UserError(
            f"whether run {found.name} is at work is not known: {found.reason}", "try again later"
        )
    if found.state == "done":
        raise UserError(f"run {found.name} is done", f"its weights are in {found.final}")


def _say_shape(before: int, now: int) -> None:
    if before != now:
        say(
            f"note: {now} processes instead of {before}: weights and optimizer go on, the order of "
            "the data and the random state differ, and a step may hold another number of samples"
        )
