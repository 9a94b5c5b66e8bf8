"""The files a node's record is kept in: names, whole pieces, and no ties to the rest."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from monitors.storage import filenames
from monitors.storage.append_file import AppendFile
from tests.monitors.running import ROOT


def test_nodes_are_found_by_any_of_their_files_in_natural_order(tmp_path: Path) -> None:
    names = (
        "n10.dmon.txt",
        "n2.samples.jsonl",
        "n2.vmstat.txt",
        "n1.vmstat.txt",
        "a.b.dmon.txt",
        "n7.samples.blocks",
    )
    for name in (*names, "notes.txt", ".dmon.txt", "dmon.txt", "n3.samples.json"):
        (tmp_path / name).touch()
    assert filenames.nodes_in(tmp_path) == ("a.b", "n1", "n2", "n7", "n10")
    assert filenames.path_of(tmp_path, "n1", filenames.VMSTAT) == tmp_path / "n1.vmstat.txt"


@given(st.lists(st.integers(0, 10**20), unique=True, max_size=8))
def test_numbers_are_ordered_as_numbers(numbers: list[int]) -> None:
    names = sorted((f"gpu{number}x" for number in numbers), key=filenames._natural)
    assert names == [f"gpu{number}x" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=4), max_size=8))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    assert sorted(sorted(names, key=filenames._natural)) == sorted(names)


def test_a_torn_line_of_the_forerunner_is_ended_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("whole\nto")
    file = AppendFile(path)
    assert file.append("a\n")
    assert file.append("b\n")
    file.close()
    assert path.read_text() == "whole\nto\na\nb\n"
    file = AppendFile(path)
    assert file.append("c\n")
    file.close()
    assert path.read_text().endswith("b\nc\n")


def test_a_piece_that_did_not_fit_is_told_and_ended_before_the_next(tmp_path: Path) -> None:
    """A limit on file sizes makes the kernel write a part, and then nothing: as a full disk."""
    path = tmp_path / "file"
    file = AppendFile(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        assert file.append("12345\n")
        assert not file.append("678901\n")
        assert not file.append("lost\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.append("again\n")
    file.close()
    assert path.read_text() == "12345\n6789\nagain\n"


def test_text_that_cannot_be_encoded_is_written_all_the_same(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "file")
    assert file.append("a\udcffb\n")
    file.close()
    assert (tmp_path / "file").read_text() == "a?b\n"


def test_it_works_alone() -> None:
    """Nothing of hpclaunch; recording and the figures need only the standard library and NVML."""
    program = (
        "import sys, monitors.recorder, monitors.report\n"
        "tops = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(tops - sys.stdlib_module_names - {'__main__'}))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "['monitors']\n"
    sources = [path.read_text() for path in (ROOT / "monitors").rglob("*.py")]
    assert not any("import hpclaunch" in text or "from hpclaunch" in text for text in sources)
