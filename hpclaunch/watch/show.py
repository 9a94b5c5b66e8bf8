"""Watch until the end: on the whole screen, or a line a tick into a pipe."""

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
from hpclaunch.watch.watcher import Watcher

_FIRST_WAIT = 0.5
"""Seconds that the first screen waits for the state: Slurm mostly answers sooner."""


def can_draw(console: Console) -> bool:
    """Return whether stdout is a terminal that a screen can be drawn on."""
    return console.is_terminal and sys.stdout.isatty() and not console.is_dumb_terminal


def on_screen(watcher: Watcher, interval_s: float, console: Console) -> Frame:
    """Draw until the run ends or `q`, Ctrl-C or SIGTERM is met; gives the last frame."""
    gc.enable()  # off for the sake of the start; from here on this process may live for days
    signs, terminal = screen.glyphs(console), Terminal(console)
    frame = watcher.look(_FIRST_WAIT)
    with contextlib.suppress(KeyboardInterrupt), terminal.taken():
        for due in _deadlines(interval_s):
            _draw(frame, console, signs)
            if frame.ended:
                break
            event = terminal.wait(due - time.monotonic())
            while event == "resize":
                _draw(frame, console, signs)
                event = terminal.wait(due - time.monotonic())
            if event == "quit":
                break
            frame = watcher.look()
    if frame.ended:
        _print(frame, console, max(8, console.height - 2))
    return frame


def once(watcher: Watcher, as_json: bool, console: Console) -> Frame:
    """Print one snapshot, as long as it takes."""
    frame = watcher.look(None)
    if as_json:
        print(json.dumps(plain.to_dict(frame)))
    else:
        _print(frame, console, None)
    return frame


def in_lines(watcher: Watcher, interval_s: float, as_json: bool) -> Frame:
    """Print a line a tick until the run ends; gives the last frame."""
    gc.enable()
    tell: Callable[[Frame], str] = plain.line
    if as_json:

        def tell(frame: Frame) -> str:
            return json.dumps(plain.to_dict(frame))

    frame = watcher.look(None)
    for due in _deadlines(interval_s):
        print(tell(frame), flush=True)
        if frame.ended:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        frame = watcher.look()
    return frame


def _deadlines(interval_s: float) -> Iterator[float]:
    """Return moments to look again, an interval apart; those that were missed are left out."""
    due = time.monotonic()
    while True:
        due = max(due + interval_s, time.monotonic())
        yield due


def _draw(frame: Frame, console: Console, signs: Glyphs) -> None:
    width, height = console.size
    found = screen.lines(frame, width, height, signs, screen.HINT)
    options = console.options.update(width=width, height=height)
    console.update_screen(Group(*found), options=options)


def _print(frame: Frame, console: Console, height: int | None) -> None:
    width = console.width if console.is_terminal else screen.PLAIN_WIDTH
    for line in screen.lines(frame, width, height, screen.glyphs(console)):
        line.rstrip()
        console.print(line, width=width, no_wrap=True, crop=False, overflow="ignore")
