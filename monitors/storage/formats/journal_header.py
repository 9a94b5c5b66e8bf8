"""The first line of a journal: how much of the block file comes before it.

    {"kind":"journal","format":1,"packed":P,"kept":K}

The first P bytes of NODE.samples.blocks hold everything that was recorded before this journal. What
lies beyond them was written by a recorder that was killed before it began the journal anew: skip
it. The next K lines of the journal stand in those P bytes, too. They are repeated so that the
journal alone tells which recording goes on, and what its last ticks were.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

FORMAT = 1
_BEGIN = b'{"kind":"journal",'


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """The values of a journal's first line."""

    blocks_bytes: int
    """Bytes of the block file that count; `packed` in the line."""
    repeated_lines: int
    """Lines after this one that the block file holds, too; `kept` in the line."""

    def line(self) -> bytes:
        """Return the line, with its end."""
        values = (_BEGIN, FORMAT, self.blocks_bytes, self.repeated_lines)
        return b'%b"format":%d,"packed":%d,"kept":%d}\n' % values


def parse_header(line: bytes) -> JournalHeader | None:
    """Return the values of a journal's first line; None where it is none."""
    if not line.startswith(_BEGIN) or not line.endswith(b"\n"):
        return None
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    packed, kept = raw.get("packed"), raw.get("kept")
    if type(packed) is not int or type(kept) is not int or packed < 0 or kept < 0:
        return None
    return JournalHeader(packed, kept)
