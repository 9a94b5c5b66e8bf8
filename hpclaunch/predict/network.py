"""A network's rate, as people write it."""

from __future__ import annotations

import re

from hpclaunch.errors import UserError

FASTEST_GB_S = 2000.0
"""No node's network is faster, in GB/s: eight ports of 800 Gb/s are 800."""
_FORM = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)\s*([a-z]+(?:/s)?)", re.IGNORECASE | re.ASCII)
_BITS = re.compile(r"gb|gbe|gbit|gbps|[gG]bit/s|[gG]bps|Gb|GbE|Gb/s|Gbit", re.ASCII)
_BYTES = re.compile(r"GB/s|GBps", re.ASCII)
"""Units: a small b is a bit, a capital one a byte; `gb/s` may be meant as either."""


def rate(text: str) -> float:
    """Return GB/s of a node, one way: `200gb`, `200Gb/s` and `10gbe` are gigabits, `25GB/s` bytes.

    `4x200gb` is four ports. Raises UserError.
    """
    found = _FORM.fullmatch(text.strip())
    unit = found.group(3) if found else ""
    in_bytes = bool(_BYTES.fullmatch(unit))
    if not found or not float(found.group(2)) or not (in_bytes or _BITS.fullmatch(unit)):
        raise UserError(
            f"--network {text!r} is no rate", "write 200gb (gigabits), 4x200gb, 10gbe or 25GB/s"
        )
    ports, number = int(found.group(1) or 1), float(found.group(2))
    gb_s = ports * (number if in_bytes else number / 8)
    if gb_s > FASTEST_GB_S:
        raise UserError(
            f"--network {text}: {gb_s:,.0f} GB/s is more than any node has",
            "gb are gigabits, GB/s are gigabytes: 200gb, 25GB/s",
        )
    return gb_s
