"""Phases of the first rank: the file, the lines in the log, the libraries' bars."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import Phase, read_phase
from hpclaunch.train import phases
from hpclaunch.train.progress_bars import DownloadBar, PhaseBar


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    monkeypatch.setattr(phases, "WRITE_S", 0.01)
    monkeypatch.delenv("HPCLAUNCH_START", raising=False)
    yield RunFolder(tmp_path)
    phases.stop()


def written(folder: RunFolder) -> Phase:
    phases.stop()
    found = read_phase(folder)
    assert found is not None
    return found


def name(folder: RunFolder) -> str:
    found = read_phase(folder)
    return found.name if found else "none"


def test_a_phase_is_written_at_once(folder: RunFolder) -> None:
    phases.start(folder, trains=True)
    phases.begin("loading org/model")
    assert name(folder) == "loading org/model"
    with phases.phase("saving a checkpoint"):
        assert name(folder) == "saving a checkpoint"
    assert name(folder) == "loading org/model"
    phases.begin("")
    assert (written(folder).name, written(folder).trains) == ("", True)


def test_without_a_start_nothing_is_written(folder: RunFolder) -> None:
    phases.begin("loading")
    phases.count(1, 2, "rows")
    with phases.phase("saving"):
        pass
    assert read_phase(folder) is None


def test_only_a_new_count_is_progress(folder: RunFolder) -> None:
    phases.start(folder)
    phases.begin("downloading org/model")
    phases.count(5e9, 141e9, "B")
    first = written(folder)
    assert first.text == "downloading org/model: 5.0 of 141 GB"
    phases.start(folder)
    phases.begin("downloading org/model")
    phases.count(5e9, 141e9, "B")
    time.sleep(0.02)
    phases.count(5e9, 141e9, "B")
    assert written(folder).moved - written(folder).began < 0.02


def test_the_log_has_a_line_every_half_minute(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(phases, "LINE_S", 0.2)
    phases.start(folder)
    phases.begin("downloading org/model")
    phases.count(41e9, 141e9, "B")
    time.sleep(0.5)
    phases.begin("")
    time.sleep(0.5)
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("progress: downloading org/model: 41 of 141 GB, for ")


def test_an_attempt_that_was_cut_off_writes_no_more(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCLAUNCH_START", "8.0")
    folder.attempt_file.write_text("8.0\n")
    phases.start(folder)
    phases.begin("loading")
    assert name(folder) == "loading"
    folder.attempt_file.write_text("8.1\n")
    phases.begin("saving")
    assert name(folder) == "none", "what it wrote before is of an earlier attempt"


def test_a_librarys_bar_is_a_phase_with_a_count(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    phases.start(folder)
    phases.begin("preparing my.jsonl")
    with PhaseBar(total=52_002, desc="Tokenizing train dataset", unit=" examples") as bar:
        bar.update(1000)
        bar.refresh()
        time.sleep(0.05)
        found = read_phase(folder)
        assert found is not None
        assert found.text == "tokenizing train dataset: 1,000 of 52,002 examples"
    assert name(folder) == "preparing my.jsonl"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_hubs_bars_give_bytes_of_all_that_are_missing(folder: RunFolder) -> None:
    class Bar(DownloadBar):
        missing_bytes = 141e9

    phases.start(folder)
    phases.begin("downloading org/model")
    received = Bar(desc="Downloading bytes", total=0, initial=0, unit="B", unit_scale=True)
    written_bytes = Bar(desc="Reconstructing (incomplete total...)", total=0, unit="B")
    files = Bar(desc="Fetching 30 files", total=30)
    written_bytes.total = 5e9
    written_bytes.update(41e9)
    received.update(42e9)
    files.update(1)
    for bar in (written_bytes, received, files):
        bar.refresh()
    assert written(folder).text == "downloading org/model: 41 of 141 GB"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"name": "x"}', '{"name":"x","began":-1,"moved":1}', "\xff",
     '{"name":"x","began":1e30,"moved":1}'],
)  # fmt: skip
def test_a_damaged_file_is_no_phase(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.phase.write_bytes(text.encode("latin-1"))
    assert read_phase(folder) is None
