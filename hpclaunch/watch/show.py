"""Watch until the end: on the whole screen, or one line per refresh into a pipe."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group

from hpclaunch.watch import plain, screen
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.sparkline import Glyphs
from hpclaunch.watch.terminal import Terminal
from hpclaunch.watch.view import View
from hpclaunch.watch.watcher import Watcher

_FIRST_WAIT = 0.5
"""Seconds that the first screen waits for the state: Slurm mostly answers sooner."""


def can_draw(console: Console) -> bool:
    """Return whether stdout is a terminal that a screen can be drawn on."""
    return console.is_terminal and sys.stdout.isatty() and not console.is_dumb_terminal


def on_screen(watcher: Watcher, interval_s: float, console: Console) -> Frame:
    """Draw until the run ends, or until `q`, Ctrl-C or SIGTERM; returns the last frame."""
    gc.enable()  # off for a fast start; from here on this process may live for days
    signs, terminal, view = screen.glyphs(console), Terminal(console), View()
    frame = watcher.refresh(_FIRST_WAIT)
    with contextlib.suppress(KeyboardInterrupt), terminal.taken():
        for due in _deadlines(interval_s):
            shown = _draw(frame, console, signs, view)
            if frame.ended:
                break
            event = terminal.wait(due - time.monotonic())
            while event is not None and event != "quit":
                view = view.press(event, shown, len(frame.nodes))
                shown = _draw(frame, console, signs, view)
                event = terminal.wait(due - time.monotonic())
            if event == "quit":
                break
            frame = watcher.refresh()
    if frame.ended:
        _print(frame, console, max(8, console.height - 2))
    return frame


def once(watcher: Watcher, as_json: bool, console: Console) -> Frame:
    """Print one snapshot of any length; returns it."""
    frame = watcher.refresh(None)
    if as_json:
        print(json.dumps(plain.to_dict(frame)))
    else:
        _print(frame, console, None)
    return frame


def in_lines(watcher: Watcher, interval_s: float, as_json: bool) -> Frame:
    """Print one line per refresh until the run ends; returns the last frame."""
    gc.enable()
    as_text: Callable[[Frame], str] = plain.line
    if as_json:

        def as_text(frame: Frame) -> str:
            return json.dumps(plain.to_dict(frame))

    frame = watcher.refresh(None)
    for due in _deadlines(interval_s):
        print(as_text(frame), flush=True)
        if frame.ended:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        frame = watcher.refresh()
    return frame


def _deadlines(interval_s: float) -> Iterator[float]:
    """Return when to refresh (monotonic seconds), an interval apart; missed ones are left out."""
    due = time.monotonic()
    while True:
        due = max(due + interval_s, time.monotonic())
        yield due


def _draw(frame: Frame, console: Console, signs: Glyphs, view: View) -> int:
    """Draw the screen; returns how many nodes are on it."""
    width, height = console.size
    lines, shown = screen.page(frame, width, height, signs, view)
    options = console.options.update(width=width, height=height)
    console.update_screen(Group(*lines), options=options)
    return shown


def _print(frame: Frame, console: Console, height: int | None) -> None:
    width = console.width if console.is_terminal else screen.PLAIN_WIDTH
    for line in screen.lines(frame, width, height, screen.glyphs(console)):
        line.rstrip()
        console.print(line, width=width, no_wrap=True, crop=False, overflow="ignore")
