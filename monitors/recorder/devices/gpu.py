"""One GPU of NVIDIA's, whole or a part of one: what is asked, and how often."""

from __future__ import annotations

from typing import Any

from monitors.recorder.devices.activity import Activity, activity_values
from monitors.recorder.devices.binding import MIB, first, nv, scaled, text, watts
from monitors.recorder.devices.counters import (
    MEMORY_TEMPERATURE,
    NVLINK_RX,
    NVLINK_TX,
    PCIE_RX,
    PCIE_TX,
    Counters,
)
from monitors.recorder.devices.health import Health
from monitors.recorder.devices.power_samples import PowerRing
from monitors.recorder.devices.processes import Processes
from monitors.recorder.devices.query import DeviceQuery
from monitors.recorder.devices.schedule import Schedule
from monitors.records import GpuInfo, GpuSample

ENERGY_EVERY = 10
"""Ticks between two readings of the energy counter, which takes some 2.6 ms."""
ACTIVITY_EVERY = 5
"""Ticks between two looks at GPM, NVLink and the gathered power readings. They tell of all the time
between, so nothing is lost but room on the disk."""
RING_EVERY, RING_S = 2, 1.0
"""Ticks and seconds between two looks at the driver's power readings: it keeps 2.4 s of them."""
HEALTH_EVERY = 30
"""Ticks between two looks at error counts and processes."""


class _Gpu:
    """What whole GPUs and parts have in common. `card` is the whole one, `own` what is sampled."""

    def __init__(self, card: DeviceQuery, own: DeviceQuery, xids_heard: bool) -> None:
        self.card, self.own = card, own
        self._xids = 0 if xids_heard else None
        self._more_xids = False
        self._health, self._processes = Health(card), Processes(own)
        self._health_turns = Schedule(HEALTH_EVERY, card.index, most_s=60)
        self._activity_turns = Schedule(ACTIVITY_EVERY, card.index, most_s=10)

    def xid(self) -> None:
        """Count an error that the driver reported."""
        self._xids, self._more_xids = (self._xids or 0) + 1, True

    def deaf(self) -> None:
        """From now on errors are not heard of: their number is unknown."""
        self._xids = None

    def poll_errors(self) -> list[str]:
        """What was noted since this was last called."""
        return list(dict.fromkeys([*self.card.poll_errors(), *self.own.poll_errors()]))

    def _seldom(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        due = self._health_turns.due()
        if due:
            values = {**self._health.sample(), **self._processes.sample()}
        if (due or self._more_xids) and self._xids is not None and not self.card.lost:
            values["xid_errors"] = self._xids
            self._more_xids = False
        return values

    def _shared(self) -> dict[str, Any]:
        ask = self.card.ask
        return {
            "temperature_c": ask("temperature", nv.nvmlDeviceGetTemperature, 0),
            "memory_clock_mhz": ask("memory clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_MEM),
            "sm_clock_mhz": ask("SM clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_SM),
            "throttle": ask("throttle reasons", _throttle),
        }

    def _memory_used(self) -> float | None:
        memory = self.own.ask("memory", _memory)
        return None if memory is None else round(memory.used / MIB, 1)


class WholeGpu(_Gpu):
    """A GPU that is not divided."""

    def __init__(self, index: int, handle: Any, xids_heard: bool) -> None:
        asker = DeviceQuery(index, handle)
        super().__init__(asker, asker, xids_heard)
        self._counters, self._activity = Counters(asker), Activity(asker)
        self._ring = PowerRing(asker)
        self._energy_turns = Schedule(ENERGY_EVERY, index)
        self._ring_turns = Schedule(RING_EVERY, index, RING_S, most_s=5)

    def info(self) -> GpuInfo:
        """What stays the same."""
        ask = self.own.ask
        memory, pci = ask("memory", _memory), ask("pci", nv.nvmlDeviceGetPciInfo)
        limit = ask("power limit", nv.nvmlDeviceGetEnforcedPowerLimit)
        return GpuInfo(
            index=self.own.index,
            uuid=text(ask("uuid", nv.nvmlDeviceGetUUID)),
            name=text(ask("name", nv.nvmlDeviceGetName)),
            pci_bus=None if pci is None else text(pci.busId),
            memory_total_mib=None if memory is None else round(memory.total / MIB, 1),
            power_limit_w=scaled(limit, 1000),
        )

    def sample(self, slow_pcie: bool) -> GpuSample:
        """Values of this tick; with `slow_pcie` this GPU may ask what blocks for 42 ms."""
        ask = self.own.ask
        use = ask("utilization", nv.nvmlDeviceGetUtilizationRates)
        active = self._activity_turns.due()
        fields = self._counters.ask(links=active)
        rx, tx = fields.get(PCIE_RX), fields.get(PCIE_TX)
        if slow_pcie and not self._counters.has(PCIE_RX):
            rx = scaled(ask("PCIe rx", nv.nvmlDeviceGetPcieThroughput, 1), 1000)
            tx = scaled(ask("PCIe tx", nv.nvmlDeviceGetPcieThroughput, 0), 1000)
        joules = None
        if self._energy_turns.due():
            joules = ask("energy", nv.nvmlDeviceGetTotalEnergyConsumption)
        values: dict[str, Any] = {
            "nvlink_rx_mb_s": fields.get(NVLINK_RX),
            "nvlink_tx_mb_s": fields.get(NVLINK_TX),
        }
        if active:
            links = not self._counters.has(NVLINK_RX)
            values |= activity_values(self._activity.sample(), links=links, part=False)
        if self._ring_turns.due():
            self._ring.gather()
        if active:
            values |= self._ring.sample()
        power = ask("power", nv.nvmlDeviceGetPowerUsage)
        return GpuSample(
            index=self.own.index,
            power_w=None if power is None else watts(power),
            memory_temperature_c=fields.get(MEMORY_TEMPERATURE),
            sm_pct=None if use is None else use.gpu,
            mem_pct=None if use is None else use.memory,
            enc_pct=first(ask("encoder", nv.nvmlDeviceGetEncoderUtilization)),
            dec_pct=first(ask("decoder", nv.nvmlDeviceGetDecoderUtilization)),
            jpg_pct=first(ask("jpeg", nv.nvmlDeviceGetJpgUtilization)),
            ofa_pct=first(ask("optical flow", nv.nvmlDeviceGetOfaUtilization)),
            pcie_rx_mb_s=rx,
            pcie_tx_mb_s=tx,
            memory_used_mib=self._memory_used(),
            energy_j=scaled(joules, 1000),
            **self._shared(),
            **values,
            **self._seldom(),
        )


class GpuPart(_Gpu):
    """A part of a GPU that MIG divides: its memory, and its work through GPM alone.

    Power, energy and traffic are of the whole card, which others may use too: not told here.
    """

    def __init__(self, index: int, card: Any, part: Any, xids_heard: bool) -> None:
        super().__init__(DeviceQuery(index, card), DeviceQuery(index, part), xids_heard)
        instance = self.own.ask("instance", nv.nvmlDeviceGetGpuInstanceId)
        self._activity = None if instance is None else Activity(self.card, instance)

    def info(self) -> GpuInfo:
        """What stays the same."""
        ask = self.own.ask
        memory = ask("memory", _memory)
        pci = self.card.ask("pci", nv.nvmlDeviceGetPciInfo)
        return GpuInfo(
            index=self.own.index,
            uuid=text(ask("uuid", nv.nvmlDeviceGetUUID)),
            name=text(ask("name", nv.nvmlDeviceGetName)),
            pci_bus=None if pci is None else text(pci.busId),
            memory_total_mib=None if memory is None else round(memory.total / MIB, 1),
        )

    def sample(self, slow_pcie: bool) -> GpuSample:
        """Values of this tick."""
        # Every tick: of a part nothing else tells whether it works.
        found = {} if self._activity is None else self._activity.sample()
        return GpuSample(
            index=self.own.index,
            memory_used_mib=self._memory_used(),
            **self._shared(),
            **activity_values(found, links=False, part=True),
            **self._seldom(),
        )


def parts_of(card: Any) -> list[Any]:
    """Handles of the parts of a divided GPU that this job may use; none of a whole one."""
    try:
        if nv.nvmlDeviceGetMigMode(card)[0] != nv.NVML_DEVICE_MIG_ENABLE:
            return []
        most = nv.nvmlDeviceGetMaxMigDeviceCount(card)
    except nv.NVMLError:
        return []
    found = []
    for at in range(most):
        try:
            found.append(nv.nvmlDeviceGetMigDeviceHandleByIndex(card, at))
        except nv.NVMLError:  # numbers without a part lie between those with one
            continue
    return found


def _memory(handle: Any) -> Any:
    try:
        # Version 1 counts what the driver keeps for itself as used.
        return nv.nvmlDeviceGetMemoryInfo(handle, version=nv.nvmlMemory_v2)
    except nv.NVMLError_FunctionNotFound:
        return nv.nvmlDeviceGetMemoryInfo(handle)


def _throttle(handle: Any) -> int:
    try:
        return int(nv.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nv.NVMLError_FunctionNotFound:  # the name before driver 535
        return int(nv.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
