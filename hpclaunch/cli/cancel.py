"""`hpclaunch cancel`: end a run."""

from __future__ import annotations

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, waiting_message


@click.command(
    cls=Command,
    examples=[
        ("By name", "hpclaunch cancel my-run"),
        ("By job id", "hpclaunch cancel 123456"),
    ],
)
@options.run
def cancel(run: str | None) -> None:
    """Cancel a run that waits or runs.

    Nothing is saved beyond its newest checkpoint: stop saves first. Without a name the newest run
    is meant, which a terminal is asked about and a script must name. The name of a sweep means all
    of its runs.
    """
    from hpclaunch.cli.group import cancel_group
    from hpclaunch.cli.which_run import run_to_end
    from hpclaunch.diagnose.rules.advice import resume_command
    from hpclaunch.diagnose.status import status
    from hpclaunch.errors import UserError
    from hpclaunch.launch.cancel import cancel as cancel_run

    if cancel_group(run):
        return
    folder, record = run_to_end(run, "cancel")
    with waiting_message():
        current = status(folder, record)
        if current.state == "unknown":
            problem = f"it is unknown whether run {record.name} is running: {current.reason}"
            raise UserError(problem, "try again later")
        if not current.active:
            raise UserError(f"run {record.name} is not running: {current.state}")
        cancel_run(folder, record)
    job = f" (job {current.job_id})" if current.job_id else ""
    print(f"cancelled {record.name}{job}")
    say(f"go on with: {resume_command(record, current.progress.checkpoint)}")
