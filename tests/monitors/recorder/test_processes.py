"""The process that the sidecar watches, over a made-up /proc; what it has used itself."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from monitors.recorder.processes import FenceWatch, ParentWatch, own_cost


class Proc:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "stat").write_text("btime 1790000000\n")

    def process(self, pid: int, state: str = "S", ticks: int = 500) -> None:
        (self.root / str(pid)).mkdir(exist_ok=True)
        rest = " ".join([state, "1", *["0"] * 17, str(ticks), *["0"] * 30])
        (self.root / str(pid) / "stat").write_text(f"{pid} (a b) {rest}\n")

    def end(self, pid: int) -> None:
        (self.root / str(pid) / "stat").unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    return Proc(tmp_path)


def test_a_process_is_watched_until_it_ends(proc: Proc) -> None:
    proc.process(7)
    watch = ParentWatch(7)
    assert not watch.gone()
    proc.end(7)
    assert watch.gone()


def test_a_zombie_has_ended(proc: Proc) -> None:
    proc.process(7)
    watch = ParentWatch(7)
    proc.process(7, "Z")
    assert watch.gone()


def test_another_process_with_the_same_number_is_not_the_one(proc: Proc) -> None:
    proc.process(7)
    watch = ParentWatch(7)
    proc.process(7, ticks=501)
    assert watch.gone()


def test_one_that_ended_before_is_gone_and_none_is_never(proc: Proc) -> None:
    assert ParentWatch(8).gone()
    assert not ParentWatch(None).gone()


def test_a_fence_is_another_text_alone(tmp_path: Path) -> None:
    file = tmp_path / "start"
    watch = FenceWatch(file, "8.0")
    assert not watch.changed(), "it cannot be read"
    for text, changed in (("8.0\n", False), ("", False), ("8.1\n", True)):
        file.write_text(text)
        assert watch.changed() is changed
    assert not FenceWatch(None, "").changed()


def test_what_this_process_used() -> None:
    cost = own_cost()
    assert cost.cpu_s == pytest.approx(time.process_time(), abs=0.5)
    assert cost.max_rss_kib is not None
    assert cost.max_rss_kib * 1024 >= psutil.Process().memory_info().rss * 0.9
