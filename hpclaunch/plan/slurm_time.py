"""A time limit as Slurm writes it, in seconds."""

from __future__ import annotations

import re

from hpclaunch.errors import UserError

_FORM = re.compile(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]+))?(?::([0-9]+))?", re.ASCII)


def seconds_of(text: str) -> int:
    """Return the seconds of `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours` and

    `days-hours:minutes[:seconds]`. Raises UserError for anything else, and for no time at all.
    """
    found = _FORM.fullmatch(text)
    if not found:
        raise UserError(f"--time {text!r} is not in Slurm's form", "write 3:00:00 or 1-12:00:00")
    days, *rest = found.groups()
    parts = [int(each) for each in rest if each is not None]
    if days is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    whole = int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    if not whole:
        raise UserError(f"--time {text!r} is no time", "write 3:00:00 or 1-12:00:00")
    return whole
