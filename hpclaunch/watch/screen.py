"""A frame as lines of the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hpclaunch.watch.frame import Frame
from hpclaunch.watch.header import head
from hpclaunch.watch.nodes import node_rows
from hpclaunch.watch.sparkline import ASCII, UNICODE, Glyphs
from hpclaunch.watch.styles import QUIET, STRONG, clean
from hpclaunch.watch.view import KEYS, View

HINT = "q quit (the job goes on)   ? help"
"""The last line of the screen."""
_SHORT_HINT = "q quit   ? help"
PLAIN_WIDTH = 100
"""Columns where stdout is no terminal."""


def glyphs(console: Console) -> Glyphs:
    """Return the characters that a terminal can show."""
    return UNICODE if console.encoding.lower().startswith("utf") else ASCII


def lines(frame: Frame, width: int, height: int | None, signs: Glyphs) -> list[Text]:
    """Return a frame in at most `height` lines of `width` columns; None: as many as it takes."""
    return _fitted(frame, width, height, signs, View(), "")[0]


def page(
    frame: Frame, width: int, height: int, signs: Glyphs, view: View
) -> tuple[list[Text], int]:
    """Return a whole screen with the keys in its last line, and how many nodes are on it."""
    return _fitted(frame, width, height, signs, view, HINT)


def _fitted(
    frame: Frame, width: int, height: int | None, signs: Glyphs, view: View, hint: str
) -> tuple[list[Text], int]:
    top = head(frame, width, signs)
    bottom = _below(frame)
    room = None if height is None else height - len(top) - len(bottom) - bool(hint)
    shown = node_rows(frame.nodes, width, room, signs, view)
    between = _help() if view.help else shown.rows
    if frame.nodes and not between and room is not None:
        between = [Text(f"{len(frame.nodes)} nodes: the screen is too small")] if room > 0 else []
    if hint:
        between = between[: max(0, room or 0)]
        between += [Text("")] * ((room or 0) - len(between))
        bottom.append(_hint(hint, view, shown.nodes, len(frame.nodes)))
    found = [*top, *between, *bottom]
    for line in found:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return (found if height is None else found[:height]), shown.nodes


def _hint(hint: str, view: View, shown: int, nodes: int) -> Text:
    """Return the last line: the keys, the order, and which nodes are on the screen."""
    parts = [_SHORT_HINT if view.text or 0 < shown < nodes else hint]
    if view.text:
        parts.append(view.text)
    if 0 < shown < nodes:
        parts.append(f"nodes {view.first + 1} to {min(nodes, view.first + shown)} of {nodes}")
    return Text("   ".join(parts), style=QUIET)


def _help() -> list[Text]:
    width = max(len(keys) for keys, _ in KEYS)
    return [
        Text(""),
        *(Text(f"  {keys:<{width}}", style=STRONG).append(f"  {text}", style="not bold")
          for keys, text in KEYS),
    ]  # fmt: skip


def _below(frame: Frame) -> list[Text]:
    found = []
    if not frame.nodes and frame.state == "running":
        found.append(Text("no node has recorded samples yet", style=QUIET))
    elif frame.absent and frame.nodes:
        found.append(Text(clean(f"no samples yet from {', '.join(frame.absent)}"), style=QUIET))
    if frame.earlier and frame.active:
        names = clean(", ".join(frame.earlier))
        found.append(Text(f"of an earlier attempt, not shown: {names}", style=QUIET))
    return found
