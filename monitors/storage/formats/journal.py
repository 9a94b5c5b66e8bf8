"""The first line of a journal: how much of the packed file goes before it.

    {"kind":"journal","format":1,"packed":P,"kept":K}

The first P bytes of NODE.samples.blocks hold all that was recorded before this journal; what lies
beyond was packed from it by somebody who was killed before the journal was begun anew, and is to be
passed over. The next K lines are in those bytes, too: they are kept so that the journal alone tells
which recording goes on, and what the last ticks were.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

FORMAT = 1
_BEGIN = b'{"kind":"journal",'


@dataclass(frozen=True, slots=True)
class Head:
    """What the first line says."""

    packed: int
    """Bytes of the packed file."""
    kept: int
    """Lines after this one that the packed file holds."""

    def line(self) -> bytes:
        """The line, with its end."""
        return b'%b"format":%d,"packed":%d,"kept":%d}\n' % (_BEGIN, FORMAT, self.packed, self.kept)


def head_of(line: bytes) -> Head | None:
    """What a journal's first line says; None where it is none."""
    if not line.startswith(_BEGIN) or not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    packed, kept = found.get("packed"), found.get("kept")
    if type(packed) is not int or type(kept) is not int or packed < 0 or kept < 0:
        return None
    return Head(packed, kept)
