"""The terminal in full-screen mode: the alternate screen, keys as they are pressed, new sizes.

It is always restored: also at SIGTERM, and while the program is stopped (Ctrl-Z).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rich.console import Console

_SEQUENCES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[7~": "home",
}  # fmt: skip
"""What terminals send for keys that are no characters."""
_KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_QUIT = {"q", "Q", "\x03"}
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Keys and sizes of one console. Only for the main thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keys: int | None = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] | None = None
        self._ending = False
        self._pressed: deque[str] = deque()
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

    def wait(self, seconds: float) -> str | None:
        """Wait for a key, a new size or the time to pass.

        Returns the key (`up`, `page down`, `s`, ...), `quit`, `resize`, or None after the time.
        """
        if self._ending:
            return "quit"
        if self._pressed:
            return self._pressed.popleft()
        watched = [self._pipe] + ([self._keys] if self._keys is not None else [])
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._ending:
            return "quit"
        if self._keys in ready:
            self._pressed.extend(self._read_keys())
        if self._pipe in ready:
            os.read(self._pipe, 4096)
            return "resize"
        return self._pressed.popleft() if self._pressed else None

    def _read_keys(self) -> list[str]:
        """Return the keys that were pressed; unknown sequences, such as of F1, are left out."""
        assert self._keys is not None  # noqa: S101 - for mypy
        try:
            data = os.read(self._keys, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._keys = None
            return ["quit"]
        found = _KEY.findall(data.decode("latin-1"))
        keys = [_SEQUENCES.get(each, each if len(each) == 1 else "") for each in found]
        return ["quit" if key in _QUIT else key for key in keys if key and key != "\x1b"]

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
