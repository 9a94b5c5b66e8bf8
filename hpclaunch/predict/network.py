"""A network's rate, as people write it."""

from __future__ import annotations

import re

from hpclaunch.errors import UserError

FASTEST_GB_S = 2000.0
"""No node's network is faster, in GB/s: eight ports of 800 Gb/s are 800."""
_FORM = re.compile(
    r"(?:(\d+)x)?(\d+(?:\.\d+)?)\s*(gb/s|gbe|gb|gbit|gbps)?", re.IGNORECASE | re.ASCII
)


def rate(text: str) -> float:
    """Return GB/s of a node, one way: `200gb` and `10gbe` are gigabits a second, `25GB/s` is bytes.

    `4x200gb` is four ports. Raises UserError.
    """
    found = _FORM.fullmatch(text.strip())
    if not found or not float(found.group(2)):
        raise UserError(
            f"--network {text!r} is no rate", "write 200gb (gigabits), 4x200gb, 10gbe or 25GB/s"
        )
    ports, number, unit = int(found.group(1) or 1), float(found.group(2)), found.group(3) or "gb"
    in_bytes = unit.lower() == "gb/s"
    gb_s = ports * (number if in_bytes else number / 8)
    if gb_s > FASTEST_GB_S:
        raise UserError(
            f"--network {text}: {gb_s:,.0f} GB/s is more than any node has",
            "gb are gigabits, GB/s are gigabytes: 200gb, 25GB/s",
        )
    return gb_s
