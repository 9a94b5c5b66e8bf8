"""All GPUs of NVIDIA's, through NVML. What a GPU does not offer is asked of it once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from monitors.recorder.devices.binding import NO_BINDING, nv
from monitors.recorder.devices.events import XidWatch, address
from monitors.recorder.devices.gpu import GpuPart, WholeGpu, parts_of
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample


class NvmlSource:
    """All GPUs that NVML shows to this process; a `monitors.recorder.interfaces.DeviceSource`.

    A GPU that MIG divides is told by its parts. Where there are any, all are numbered in order.
    """

    def __init__(self) -> None:
        self._devices: list[WholeGpu | GpuPart] = []
        self._by_handle: dict[int, list[WholeGpu | GpuPart]] = {}
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
        cards: dict[int, Any] = {}
        for index in range(count):
            try:
                cards[index] = nv.nvmlDeviceGetHandleByIndex(index)
            except nv.NVMLError as error:  # one that fell off the bus: not the others' fault
                self._notes.append(f"GPU {index} cannot be sampled: {error}")
        if self._notes and not cards:
            raise DeviceError("; ".join(self._notes))
        self._xids = XidWatch(cards.values())
        self._list(cards)
        return tuple(device.info() for device in self._devices)

    def _list(self, cards: dict[int, Any]) -> None:
        parts = {index: parts_of(card) for index, card in cards.items()}
        divided = any(parts.values())
        for index, card in cards.items():
            heard = self._xids is not None and self._xids.watches(card)
            begin = len(self._devices)
            for part in parts[index]:
                self._devices.append(GpuPart(len(self._devices), card, part, heard))
            if not parts[index]:
                number = begin if divided else index
                self._devices.append(WholeGpu(number, card, heard))
            self._by_handle[address(card)] = self._devices[begin:]

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
        """Never asks NVML, so never waits for it."""
        with self._hearing:
            self._take_xids()

    def _take_xids(self) -> None:
        if self._xids is None:
            return
        for xid in self._xids.take():
            devices = self._by_handle.get(xid.gpu or 0, [])
            for device in devices:
                device.xid()
            who = " and ".join(f"GPU {device.own.index}" for device in devices) or "a GPU"
            self._errors[who, xid.number] += 1
            count = self._errors[who, xid.number]
            # Some come in storms: the first is told, the tenth, the hundredth.
            if str(count).strip("0") == "1":
                times = f", {count} times so far" if count > 1 else ""
                self._notes.append(f"{who}: Xid {xid.number}{times}")
        if self._xids.deaf:
            for device in self._devices:
                device.deaf()
