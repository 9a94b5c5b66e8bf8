"""The thread that asks the GPUs, with a source of this project's own kind that can be held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from monitors.recorder.gpu_thread import GpuSamplerThread
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample


class Source:
    """One GPU that draws as many watts as the tick has for a number, once it may answer."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.may_open, self.may_answer = threading.Event(), threading.Event()
        self.may_open.set()
        self.may_answer.set()
        self.fault = fault

    def open(self) -> tuple[GpuInfo, ...]:
        self.may_open.wait(10)
        if isinstance(self.fault, DeviceError):
            raise self.fault
        return (GpuInfo(0),)

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        self.may_answer.wait(10)
        if self.fault is not None:
            raise self.fault
        return (GpuSample(0, power_w=n),)

    def notes(self) -> tuple[str, ...]:
        return ("from the source",)

    def urgent(self) -> tuple[str, ...]:
        return ("urgent",)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_answer_that_came_late_is_not_given_for_another_tick() -> None:
    source = Source()
    handover = GpuSamplerThread(source)
    until(lambda: handover.opened)
    assert handover.sample(0, 5) == (GpuSample(0, power_w=0),)
    source.may_answer.clear()
    assert handover.sample(1, 0.01) is None
    assert handover.stuck
    begin = time.monotonic()
    assert handover.sample(2, 5) is None  # still open: not waited for again
    assert time.monotonic() - begin < 1
    silent = "the GPUs do not answer; the host is recorded without them"
    assert handover.notes() == (silent, "urgent"), "what can be told without asking a device"
    source.may_answer.set()
    until(lambda: handover.sample(3, 5) == (GpuSample(0, power_w=3),))
    assert not handover.stuck
    assert handover.notes() == ("the GPUs answer again", "from the source")


def test_nothing_is_asked_before_the_gpus_are_known() -> None:
    source = Source()
    source.may_open.clear()
    handover = GpuSamplerThread(source)
    assert (handover.opened, handover.stuck, handover.table) == (False, True, ())
    assert handover.problem == "the driver has not listed the GPUs yet"
    assert handover.sample(0, 5) is None
    source.may_open.set()
    until(lambda: handover.opened)
    assert handover.table == (GpuInfo(0),)
    problems: list[str | None] = [handover.problem]
    assert problems == [None]


def test_a_source_that_cannot_open_says_why() -> None:
    handover = GpuSamplerThread(Source(DeviceError("no driver")))
    until(lambda: handover.opened)
    assert (handover.problem, handover.stuck) == ("no driver", False)
    assert handover.sample(0, 5) is None


def test_a_source_that_breaks_is_told_once_and_not_asked_again() -> None:
    handover = GpuSamplerThread(Source(ZeroDivisionError("oops")))
    until(lambda: handover.opened)
    assert handover.sample(0, 5) is None
    assert handover.sample(1, 5) is None
    assert handover.notes()[0] == "GPU sampling failed: ZeroDivisionError: oops"
