"""A terminal of a given size, with a program in it: what it shows, and keys to press."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte


class Terminal:
    """Runs one program on a pseudo-terminal; `screen` is what a person would see."""

    def __init__(
        self, argv: Sequence[str], env: dict[str, str], cwd: Path, columns: int, lines: int
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.raw = b""
        self._control, inside = pty.openpty()
        self._size(columns, lines)
        self.before = termios.tcgetattr(inside)
        self._inside = inside
        self.process = subprocess.Popen(
            argv,
            env={"TERM": "xterm-256color", **env},
            cwd=cwd,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._control, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._control, 1 << 16)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without the blanks at their ends."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The screen in one text."""
        return "\n".join(self.lines)

    def until(self, wanted: Callable[[str], bool] | str, seconds: float = 20) -> str:
        """Wait until the screen shows something, and is drawn to its end; gives its text."""
        deadline = time.monotonic() + seconds
        while True:
            text, drawn = self.text, len(self.raw)
            if wanted in text if isinstance(wanted, str) else wanted(text):
                time.sleep(0.1)
                if len(self.raw) == drawn:
                    return text
                continue
            assert time.monotonic() < deadline, text
            assert self.process.poll() is None, f"it has ended: {self.raw!r}"
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        """Type something."""
        os.write(self._control, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Return the terminal another size."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._size(columns, lines)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def end(self, seconds: float = 20) -> tuple[int, str]:
        """Wait for the program's end; gives its exit code, and what it left behind."""
        code = self.process.wait(seconds)
        mark = b"nothing comes after this"
        os.write(self._inside, mark)
        deadline = time.monotonic() + seconds
        while not self.raw.endswith(mark):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        left = self.raw.removesuffix(mark).rpartition(b"\x1b[?1049l")[2]
        return code, left.decode()

    def as_before(self) -> bool:
        """Return whether the terminal takes keys as it did at first."""
        return termios.tcgetattr(self._inside) == self.before

    def close(self) -> None:
        """End the program, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._inside)
        os.close(self._control)
