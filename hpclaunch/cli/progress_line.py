"""One line on the terminal that moves while a run is in a phase beside its steps."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable

from hpclaunch.cli.visible import erase_line
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line
from hpclaunch.run.phase import LOG_PREFIX, Phase, read_phase
from hpclaunch.units import duration

REFRESH_S = 1.0
"""Seconds between two looks at the run's phase."""
_WAIT_S = 3.0
"""Seconds that a phase lasts before it is shown: most are over by then."""


class ProgressLine:
    """Shows a run's phase below the lines of its log; where stdout is no terminal, nothing.

    The log has a line of the phase every half minute: on a terminal this line stands for them.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        self._drawn = False
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __enter__(self) -> ProgressLine:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the line away, for good."""
        self._closed.set()
        with self._lock:
            self._erase()

    def above(
        self, folder: RunFolder, show: Callable[[Line], None], *, starts: bool = False
    ) -> Callable[[Line], None]:
        """Follow a run; return what prints a line of its log above the moving one.

        `starts`: the run starts now, so a phase that is there already is of an earlier start.
        """
        if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            return show
        earlier = read_phase(folder) if starts else None
        threading.Thread(target=self._run, args=(folder, earlier), daemon=True).start()

        def show_above(line: Line) -> None:
            if line.text.startswith(LOG_PREFIX):
                return
            with self._lock:
                self._erase()
                show(line)

        return show_above

    def _run(self, folder: RunFolder, earlier: Phase | None) -> None:
        while not self._closed.wait(REFRESH_S):
            phase = read_phase(folder)
            shown = phase is not None and phase.name and phase != earlier
            with self._lock:
                if self._closed.is_set():
                    return
                if phase is not None and shown and time.time() - phase.began >= _WAIT_S:
                    self._draw(phase)
                else:
                    self._erase()

    def _draw(self, phase: Phase) -> None:
        width = shutil.get_terminal_size().columns - 1
        text = f"{phase.text}, {duration(max(0.0, time.time() - phase.began))}"
        text = "".join(c if c.isprintable() else "?" for c in text)
        sys.stdout.write(erase_line(sys.stdout) + text[: max(0, width)])
        sys.stdout.flush()
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            sys.stdout.write(erase_line(sys.stdout))
            sys.stdout.flush()
