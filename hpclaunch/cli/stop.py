"""`hpclaunch stop`: have a run save and end in order."""

from __future__ import annotations

from shlex import quote

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, waiting_message


@click.command(
    cls=Command,
    examples=[
        ("Save after this step, and end", "hpclaunch stop my-run"),
        ("By job id", "hpclaunch stop 123456"),
    ],
)
@options.run
def stop(run: str | None) -> None:
    """Stop a run in order: it saves after this step.

    The run writes a checkpoint and its weights so far, and ends. It is not requeued; resume goes on
    with it. Works for batch jobs, attached and local runs of the built-in trainer. Without a name
    the newest run is meant, which a terminal is asked about and a script must name.
    """
    from hpclaunch.cli.which_run import run_to_end
    from hpclaunch.diagnose.status import status
    from hpclaunch.errors import UserError
    from hpclaunch.launch.stop import request_stop

    folder, record = run_to_end(run, "stop")
    with waiting_message():
        current = status(folder, record)
    if current.state == "queued":
        raise UserError(
            f"run {record.name} waits in the queue, and has nothing to save",
            f"hpclaunch cancel {quote(record.name)}",
        )
    if current.state not in {"running", "unknown"}:
        raise UserError(f"run {record.name} is not running: {current.state}")
    request_stop(folder, record)
    if current.state == "unknown":
        say(f"it is unknown whether it is running: {current.reason}")
    print(f"{record.name} saves after the step at work, and ends")
    name = quote(record.name)
    say(f"follow it: hpclaunch logs -f {name}; go on later: hpclaunch resume {name}")
