"""A process of the job that the kernel kills for memory is noted when it happens."""

from __future__ import annotations

import json
import time

from monitors.recorder.gpu_thread import GpuSamplerThread
from monitors.recorder.interfaces import DeviceError
from monitors.recorder.loop import Recorder, Settings
from monitors.records import GpuInfo, GpuSample, HostSample


class NoGpus:
    def open(self) -> tuple[GpuInfo, ...]:
        raise DeviceError("none here")

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        raise AssertionError("there are none")

    def notes(self) -> tuple[str, ...]:
        return ()

    def urgent(self) -> tuple[str, ...]:
        return ()


class Steps:
    """A clock that moves when it is waited for, until there is no sample left to take."""

    def __init__(self, kills: list[int | None]) -> None:
        self.kills = kills
        self.now = 0.0

    def wall(self) -> float:
        return 1.8e9 + self.now

    def mono(self) -> float:
        return self.now

    def wait(self, seconds: float) -> str | None:
        time.sleep(0.001)  # the thread that asks for GPUs has a turn
        self.now += seconds
        return None if self.kills else "SIGTERM"

    def sample(self) -> tuple[HostSample, None]:
        return HostSample(oom_kills=self.kills.pop(0)), None


class Lines:
    problem = None

    def __init__(self) -> None:
        self.texts: list[str] = []

    def append(self, text: str) -> bool:
        self.texts.append(text)
        return True

    def maybe_compact(self) -> None:
        pass

    def close(self) -> None:
        pass


def notes(*kills: int | None) -> list[str]:
    steps, lines = Steps(list(kills)), Lines()
    Recorder(Settings("n1"), steps, steps, GpuSamplerThread(NoGpus()), lines).run()
    told = [json.loads(text) for text in lines.texts]
    return [each["text"] for each in told if each["kind"] == "note" and "memory" in each["text"]]


def test_each_growth_is_a_note() -> None:
    assert notes(0, 0, 1, 1, 4) == [
        "the kernel killed a process of the job for memory",
        "the kernel killed 3 processes of the job for memory",
    ]


def test_what_was_before_or_is_not_known_is_none() -> None:
    assert notes(7, 7, 7) == []
    assert notes(None, 3, None, 5) == []
    assert notes(5, 2, 2) == []
