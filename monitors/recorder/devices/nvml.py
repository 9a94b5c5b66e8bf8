"""All GPUs of NVIDIA's, through NVML. What a GPU does not support is called once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from monitors.recorder.devices.binding import NO_BINDING, nv
from monitors.recorder.devices.events import XidWatch, address
from monitors.recorder.devices.gpu import MigInstance, WholeGpu, mig_instances_of
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample


class NvmlSource:
    """All GPUs that NVML shows to this process; a `monitors.recorder.interfaces.DeviceSource`.

    A GPU that MIG divides is shown as its instances. Where there are any, all are numbered anew.
    """

    def __init__(self) -> None:
        self._devices: list[WholeGpu | MigInstance] = []
        self._by_handle: dict[int, list[WholeGpu | MigInstance]] = {}
        self._hearing = threading.Lock()
        self._errors: Counter[tuple[str, int]] = Counter()
        self._xids: XidWatch | None = None
        self._notes: list[str] = []

    def open(self) -> tuple[GpuInfo, ...]:
        """Load NVML and look each GPU up. Raises DeviceError with the reason when that fails."""
        if nv is None:
            raise DeviceError(NO_BINDING)
        try:
            nv.nvmlInit()
            count = nv.nvmlDeviceGetCount()
        except nv.NVMLError as error:
            raise DeviceError(f"NVML: {error}") from error
        handles: dict[int, Any] = {}
        for index in range(count):
            try:
                handles[index] = nv.nvmlDeviceGetHandleByIndex(index)
            except nv.NVMLError as error:  # one that fell off the bus: not the others' fault
                self._notes.append(f"GPU {index} cannot be sampled: {error}")
        if self._notes and not handles:
            raise DeviceError("; ".join(self._notes))
        self._xids = XidWatch(handles.values())
        self._list(handles)
        return tuple(device.info() for device in self._devices)

    def _list(self, handles: dict[int, Any]) -> None:
        instances = {index: mig_instances_of(handle) for index, handle in handles.items()}
        divided = any(instances.values())
        for index, handle in handles.items():
            watched = self._xids is not None and self._xids.watches(handle)
            begin = len(self._devices)
            for instance in instances[index]:
                self._devices.append(MigInstance(len(self._devices), handle, instance, watched))
            if not instances[index]:
                number = begin if divided else index
                self._devices.append(WholeGpu(number, handle, watched))
            self._by_handle[address(handle)] = self._devices[begin:]

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        self._hear()
        # GetPcieThroughput blocks for 21 ms a direction. Asking one GPU a tick in turn bounds that.
        turn = n % len(self._devices) if self._devices else 0
        return tuple(device.sample(slow_pcie=at == turn) for at, device in enumerate(self._devices))

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        return (*self.urgent(), *(note for gpu in self._devices for note in gpu.poll_errors()))

    def urgent(self) -> tuple[str, ...]:
        """Errors that the driver reported, while `sample` may stand still over one of them."""
        self._hear()
        with self._hearing:
            mine, self._notes = self._notes, []
        return tuple(mine)

    def _hear(self) -> None:
        """Never calls NVML, so never waits for it."""
        with self._hearing:
            self._take_xids()

    def _take_xids(self) -> None:
        if self._xids is None:
            return
        for xid in self._xids.take():
            devices = self._by_handle.get(xid.gpu or 0, [])
            for device in devices:
                device.count_xid()
            who = " and ".join(f"GPU {device.own.index}" for device in devices) or "a GPU"
            self._errors[who, xid.number] += 1
            count = self._errors[who, xid.number]
            # Some come in storms: the first is noted, the tenth, the hundredth.
            if str(count).strip("0") == "1":
                times = f", {count} times so far" if count > 1 else ""
                self._notes.append(f"{who}: Xid {xid.number}{times}")
        if self._xids.failed:
            for device in self._devices:
                device.xids_unknown()
