"""Numbers and times as a person reads them, the same wherever hpclaunch writes one."""

from __future__ import annotations

UNKNOWN = "unknown"


def duration(seconds: float | None) -> str:
    """Return seconds in a person's units: `130 ms`, `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return UNKNOWN
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "under 1 ms"
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{days} d {hours_of_day:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def size(number: float) -> str:
    """Return bytes as `12.4 MB`, `2.5 GB`, `141 GB` (10^6 and 10^9 of them)."""
    if number < 1e8:
        return f"{number / 1e6:.1f} MB"
    return f"{number / 1e9:.1f} GB" if number < 1e11 else f"{number / 1e9:,.0f} GB"


def size_of(done: float, total: float | None) -> str:
    """Return bytes done of all: `41 of 141 GB`, `820 MB of 2.5 GB`; `41 GB` of an unknown total."""
    if not total:
        return size(done)
    whole = size(total)
    unit = whole.rpartition(" ")[2]
    part = done / (1e6 if unit == "MB" else 1e9)
    if unit == "GB" and done < 1e9:
        return f"{done / 1e6:.0f} MB of {whole}"
    return f"{part:,.0f} of {whole}" if part >= 10 else f"{part:.1f} of {whole}"
