"""A frame as lines of the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hpclaunch.watch.frame import Frame
from hpclaunch.watch.header import head
from hpclaunch.watch.nodes import node_rows
from hpclaunch.watch.rows import QUIET, clean
from hpclaunch.watch.sparkline import ASCII, UNICODE, Glyphs

HINT = "q quits, the job goes on"
PLAIN_WIDTH = 100
"""Columns where there is no terminal to say how many it has."""


def glyphs(console: Console) -> Glyphs:
    """Return the characters that a terminal can show."""
    return UNICODE if console.encoding.lower().startswith("utf") else ASCII


def lines(
    frame: Frame, width: int, height: int | None, signs: Glyphs, hint: str = ""
) -> list[Text]:
    """Return a frame in at most `height` lines of `width` columns; None: as many as it takes."""
    top = head(frame, width, signs)
    bottom = _below(frame)
    if hint:
        bottom.append(Text(hint, style=QUIET))
    room = None if height is None else height - len(top) - len(bottom)
    between = node_rows(frame.nodes, width, room, signs)
    if frame.nodes and not between and room is not None:
        # So small a screen that no node fits: that is said, too.
        between = (
            [Text(f"{len(frame.nodes)} nodes, for which there is no room")] if room > 0 else []
        )
    if hint and room is not None:
        between += [Text("")] * (room - len(between))
    found = [*top, *between, *bottom]
    for line in found:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return found if height is None else found[:height]


def _below(frame: Frame) -> list[Text]:
    found = []
    if not frame.nodes and frame.state == "running":
        found.append(Text("no node has left samples yet", style=QUIET))
    elif frame.absent and frame.nodes:
        found.append(Text(clean(f"no samples yet from {', '.join(frame.absent)}"), style=QUIET))
    if frame.earlier and frame.active:
        names = clean(", ".join(frame.earlier))
        found.append(Text(f"of an earlier start, not shown: {names}", style=QUIET))
    return found
