"""GPUs of AMD's and Intel's, by the files that their kernel drivers show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from monitors.recorder.devices.amd import AmdGpu
from monitors.recorder.devices.intel import IntelGpu
from monitors.records import GpuInfo, GpuSample

_KINDS: dict[str, type[AmdGpu] | type[IntelGpu]] = {
    "amdgpu": AmdGpu,
    "i915": IntelGpu,
    "xe": IntelGpu,
}


class _SysfsGpu(Protocol):
    index: int

    def info(self) -> GpuInfo: ...

    def sample(self) -> GpuSample: ...

    def poll_errors(self) -> list[str]: ...


class SysfsSource:
    """The GPUs that this job may use, a `monitors.recorder.interfaces.DeviceSource`.

    Needs no package. `root` stands in for `/` in tests. What is part of a processor, for its
    picture, is no GPU here.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._gpus: list[_SysfsGpu] = []

    def open(self) -> tuple[GpuInfo, ...]:
        """Find the GPUs; none where there is none."""
        for card in self._cards():
            driver = _driver(card)
            if driver in _KINDS and self._usable(card):
                gpu = _KINDS[driver](len(self._gpus), card)
                if gpu.computes:
                    self._gpus.append(gpu)
        return tuple(gpu.info() for gpu in self._gpus)

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        return tuple(gpu.sample() for gpu in self._gpus)

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        return tuple(note for gpu in self._gpus for note in gpu.poll_errors())

    def urgent(self) -> tuple[str, ...]:
        """The kernel's files tell of failing devices only when they are read."""
        return ()

    def _cards(self) -> list[Path]:
        """In the order of their places on the bus, which is the same on every start."""
        folder = self._root / "sys/class/drm"
        try:
            found = [path for path in folder.iterdir() if path.name.removeprefix("card").isdigit()]
        except OSError:
            return []
        return sorted(found, key=lambda card: str((card / "device").resolve()))

    def _usable(self, card: Path) -> bool:
        """Whether this job may compute on it: the kernel shows the files of all GPUs to everyone.

        Only opening the node tells, for a cgroup can forbid what the file's mode allows.
        """
        for node in sorted((card / "device/drm").glob("renderD*")):
            try:
                os.close(os.open(self._root / "dev/dri" / node.name, os.O_RDWR | os.O_CLOEXEC))
            except OSError:
                continue
            return True
        return False


def _driver(card: Path) -> str:
    try:
        return (card / "device/driver").readlink().name
    except OSError:
        return ""
