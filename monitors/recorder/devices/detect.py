"""Detects the GPUs of a node: NVIDIA's, else what the kernel shows of others, else Trainium."""

from __future__ import annotations

import os
from pathlib import Path

from monitors.recorder.devices.nvml import NvmlSource
from monitors.recorder.devices.sysfs import SysfsSource
from monitors.recorder.interfaces import DeviceError, DeviceSource
from monitors.records import GpuInfo, GpuSample


class AnySource:
    """The GPUs of this node, whoever made them; a `monitors.recorder.interfaces.DeviceSource`."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root` stands in for `/` in tests."""
        self._root = root
        self._source: DeviceSource = NvmlSource()

    def open(self) -> tuple[GpuInfo, ...]:
        """Find the GPUs. Raises DeviceError with NVML's reason where there is none at all."""
        problem: DeviceError | None = None
        found: tuple[GpuInfo, ...] = ()
        try:
            found = self._source.open()
        except DeviceError as error:
            problem = error
        if not found:
            others = SysfsSource(self._root)
            found = others.open()
            if found:
                self._source = others
            elif program := neuron_monitor(self._root):
                # Not imported before: few nodes have it, and each sidecar starts with its job.
                from monitors.recorder.devices.neuron import NeuronSource

                neuron = NeuronSource(program)
                found, self._source = neuron.open(), neuron
            elif problem is not None:
                raise problem
        return found

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        return self._source.sample(n)

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        return self._source.notes()

    def urgent(self) -> tuple[str, ...]:
        """What is known of failing devices while `sample` may not return."""
        return self._source.urgent()


def neuron_monitor(root: Path = Path("/")) -> str | None:
    """Return the path of AWS's neuron-monitor, None where this node has none."""
    found = os.environ.get("PATH", "").split(os.pathsep)
    for folder in (*(Path(each) for each in found if each), root / "opt/aws/neuron/bin"):
        path = folder / "neuron-monitor"
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None
