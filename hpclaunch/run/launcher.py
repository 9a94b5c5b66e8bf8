"""A launcher's own account of a rank that failed: kept in the log, and hidden from the screen.

torchrun logs the end of its ranks, accelerate raises over it with a traceback of its own, and a
table follows; what the rank itself said stands above all that. A launcher's own failure is shown by
the last line of its traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hpclaunch.run.lines import Line

_LOGGED = re.compile(r"[DIWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ torch/distributed/")
_TRACEBACK = "Traceback (most recent call last):"
_OVER_A_RANK = ("torch.distributed.elastic.",)
"""Exceptions that only say that a rank has failed, or that the launcher was told to stop."""

_FRAME = re.compile(r"(\[rank\d+\]:)?\s*(frame #\d+: |Exception raised from .* call first\):$)")
"""The stack that torch's C++ prints below a warning: a lost TCPStore at the end has 25 lines."""

_RULE = re.compile(r"=+|-+|\*+")


@dataclass
class LauncherFilter:
    """Decides line by line, for each node by itself, what a person is shown."""

    _within: dict[int, str] = field(default_factory=dict)
    """Nodes whose launcher is in the middle of a traceback or a table."""

    def wanted(self, line: Line) -> bool:
        """Return whether to show a line. The script's always are; ranks' own but for C++ frames."""
        if line.node is None:
            return True
        if line.local_rank is not None:
            return not _FRAME.match(line.text)
        state, shown = _next(self._within.get(line.node, ""), line.text)
        self._within[line.node] = state
        return shown


def _next(within: str, text: str) -> tuple[str, bool]:
    """Return what the launcher is in the middle of after this line, and whether to show it."""
    if text == _TRACEBACK:
        return "traceback", False
    if within == "traceback":
        if not text or text.startswith(" "):
            return within, False
        over_a_rank = text.startswith(_OVER_A_RANK)
        return ("verdict", False) if over_a_rank else ("", True)
    if within == "verdict" and _is_rule(text):
        return "table", False
    if within == "table":
        # The table is closed by the kind of rule that opened it.
        return ("" if _is_rule(text) and text[0] in "=*" else within), False
    return "", not _LOGGED.match(text)


def _is_rule(text: str) -> bool:
    return len(text) > 20 and _RULE.fullmatch(text) is not None
