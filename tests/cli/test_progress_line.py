"""The line that moves on a terminal while a run downloads or loads."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest

from hpclaunch.cli import progress_line
from hpclaunch.cli.progress_line import ProgressLine
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line
from hpclaunch.run.phase import Phase, write_phase


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch, folder: RunFolder) -> str:
    """Return what a terminal gets of a run that downloads, and logs two lines meanwhile."""
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(progress_line, "REFRESH_S", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    now = time.time()
    write_phase(
        folder,
        Phase(name="downloading org/m\x1bodel", began=now - 60, moved=now, done=41e9, total=141e9,
              unit="B"),
    )  # fmt: skip
    with ProgressLine() as line:
        show = line.above(folder, lambda each: print(each.text))
        show(Line("hello"))
        time.sleep(0.3)
        show(Line("progress: downloading org/model: 41 of 141 GB, for 1 min"))
        show(Line("a warning"))
        time.sleep(0.1)
    return screen.getvalue()


def test_it_moves_below_the_log_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(Screen(), monkeypatch, RunFolder(tmp_path))
    assert text.startswith("hello\n")
    assert "\r\x1b[Kdownloading org/m?odel: 41 of 141 GB, 1 min 0" in text
    assert "\r\x1b[Ka warning\n" in text, "taken away before a line is printed"
    assert "progress: " not in text
    assert text.endswith("\r\x1b[K")


def test_in_a_pipe_the_log_is_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(io.StringIO(), monkeypatch, RunFolder(tmp_path))
    assert text.splitlines()[1].startswith("progress: downloading org/model")
    assert "\x1b" not in text


def test_a_phase_of_an_earlier_start_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, folder = Screen(), RunFolder(tmp_path)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(progress_line, "REFRESH_S", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    write_phase(folder, Phase(name="saving", began=1.0, moved=1.0))
    with ProgressLine() as line:
        line.above(folder, lambda _: None, starts=True)
        time.sleep(0.1)
    assert screen.getvalue() == ""
    with ProgressLine() as line:  # one that is joined in the middle of a phase
        line.above(folder, lambda _: None)
        time.sleep(0.2)
    assert "saving" in screen.getvalue()
