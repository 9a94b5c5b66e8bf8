"""`hpclaunch cancel`: end a run."""

from __future__ import annotations

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import patience


@click.command()
@options.run
def cancel(run: str | None) -> None:
    """Cancel a run that waits or runs."""
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.errors import UserError
    from hpclaunch.launch.cancel import cancel as end
    from hpclaunch.run.find import find

    folder, record = find(run)
    with patience():
        found = look(folder, record)
        if found.state == "unknown":
            why = f"whether run {record.name} is at work is not known: {found.reason}"
            raise UserError(why, f"scancel {record.job_id}" if record.job_id else "")
        if not found.active:
            raise UserError(f"run {record.name} is not running: {found.state}")
        end(folder, record)
    job = f" (job {found.job_id})" if found.job_id else ""
    print(f"cancelled {record.name}{job}")
