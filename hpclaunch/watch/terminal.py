"""The terminal while it is ours: the other screen, keys as they are pressed, and changes of size.

Whatever happens it is given back as it was: also at SIGTERM, and while we are stopped (Ctrl-Z).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Any, Literal

from rich.console import Console

Event = Literal["quit", "resize"]
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Keys and sizes of one console. Only for the main thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keys: int | None = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] | None = None
        self._ending = False
        self._pipe, self._wake = os.pipe()
        for end in (self._pipe, self._wake):
            os.set_blocking(end, False)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take the terminal over for the time inside."""
        handlers = {signal.SIGWINCH: self._noticed, signal.SIGTSTP: self._stopped}
        handlers |= dict.fromkeys(_ENDING, self._ended)
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        # A signal cuts a wait short by what it leaves in the pipe.
        wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._enter()
        try:
            yield
        finally:
            self._leave()
            signal.set_wakeup_fd(wakeup)
            for number, handler in old.items():
                signal.signal(number, handler)

    def wait(self, seconds: float) -> Event | None:
        """Wait for a key, a new size or the time to pass; gives what is to be done."""
        if self._ending:
            return "quit"
        watched = [self._pipe] + ([self._keys] if self._keys is not None else [])
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._ending or (self._keys in ready and self._quit_pressed()):
            return "quit"
        if self._pipe in ready:
            os.read(self._pipe, 4096)
            return "resize"
        return None

    def _quit_pressed(self) -> bool:
        assert self._keys is not None  # noqa: S101 - for mypy
        try:
            pressed = os.read(self._keys, 1024)
        except OSError:
            pressed = b""
        if not pressed:  # the terminal is gone
            self._keys = None
            return True
        # Keys such as the arrows come as an escape and letters.
        return not pressed.startswith(b"\x1b") and bool({*pressed} & {*b"qQ\x03"})

    def _enter(self) -> None:
        if self._keys is not None:
            with contextlib.suppress(termios.error):
                self._before = termios.tcgetattr(self._keys)
                tty.setcbreak(self._keys)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        if self._keys is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    def _noticed(self, _: int, __: FrameType | None) -> None:
        """Only cut the wait short."""

    def _ended(self, _: int, __: FrameType | None) -> None:
        self._ending = True

    def _stopped(self, _: int, __: FrameType | None) -> None:
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
