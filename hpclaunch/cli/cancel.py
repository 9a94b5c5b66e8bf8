"""`hpclaunch cancel`: end a run."""

from __future__ import annotations

import click

from hpclaunch.cli import options


@click.command()
@options.run
def cancel(run: str | None) -> None:
    """Cancel a run that waits or runs."""
    from hpclaunch.cluster.cancel import cancel as end
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.errors import UserError
    from hpclaunch.run.find import find

    folder, record = find(run)
    found = look(folder, record)
    if not found.active:
        raise UserError(f"run {record.name} is not running: {found.state}")
    end(folder, record)
    job = f" (job {record.job_id})" if record.job_id else ""
    print(f"cancelled {record.name}{job}")
