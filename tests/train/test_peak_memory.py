"""Peaks of GPU memory: loading and steps apart, of the fullest rank."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import run_log
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.peak_memory import PeakMemory, Peaks


class Allocator:
    """PyTorch's counters of GPU memory, where there is no GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated = self.reserved = self.peak = self.reserved_peak = 0
        for name, function in (
            ("max_memory_allocated", lambda: self.peak),
            ("max_memory_reserved", lambda: self.reserved_peak),
            ("reset_peak_memory_stats", self.reset),
        ):
            monkeypatch.setattr(torch.cuda, name, function)

    def use(self, allocated: int, reserved: int) -> None:
        self.allocated, self.reserved = allocated, reserved
        self.peak = max(self.peak, allocated)
        self.reserved_peak = max(self.reserved_peak, reserved)

    def reset(self) -> None:
        self.peak, self.reserved_peak = self.allocated, self.reserved


def test_loading_and_steps_have_peaks_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    allocator = Allocator(monkeypatch)
    context = DistContext(rank=0, world_size=1, device="cuda", fsdp_version=2)
    memory = PeakMemory(context)
    allocator.use(10, 12)  # the whole model
    allocator.use(4, 5)  # sharded
    memory.on_train_begin()
    allocator.use(7, 8)
    allocator.use(4, 8)
    assert memory.peaks() == Peaks(allocated=7, reserved=8, loading_allocated=10)
    folder = RunFolder(tmp_path)
    run_log.log_peak_memory(folder, context, memory)
    (event,) = read_events(folder.events)
    logged = {name: event[name] for name in ("allocated", "reserved", "loading_allocated")}
    assert logged == {"allocated": 7, "reserved": 8, "loading_allocated": 10}


def test_cpus_have_none(tmp_path: Path) -> None:
    context = DistContext(rank=0, world_size=1, device="cpu", fsdp_version=0)
    memory = PeakMemory(context)
    memory.on_train_begin()
    assert memory.peaks() is None
    run_log.log_peak_memory(RunFolder(tmp_path), context, memory)
    assert not RunFolder(tmp_path).events.exists()
