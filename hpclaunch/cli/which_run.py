"""Which run a command means that ends one: named, or confirmed at the terminal."""

from __future__ import annotations

import sys
from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli.terminal import is_terminal

if TYPE_CHECKING:
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record


def run_to_end(reference: str | None, verb: str) -> tuple[RunFolder, Record]:
    """Return the run that is named, else the newest if the user at the terminal agrees.

    `verb` is what will be done to it. Raises UserError in a script that names none, and
    click.Abort where the user does not agree.
    """
    from hpclaunch.errors import UserError
    from hpclaunch.run.find import find
    from hpclaunch.run.owner import require_own

    folder, record = find(reference)
    require_own(folder, verb)
    if reference is not None:
        return folder, record
    job = f", job {record.job_id}" if record.job_id else ""
    what = f"{record.name} in {folder.root.parent}{job}"
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UserError(
            f"no run is named, and a script must name the one to {verb}",
            f"the newest is {what}: hpclaunch {verb} {quote(record.name)}",
        )
    click.confirm(f"hpclaunch: {verb} {what}?", abort=True, err=True)
    return folder, record
