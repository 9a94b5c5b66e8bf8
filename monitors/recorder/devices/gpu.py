"""One GPU of NVIDIA's, whole or a MIG instance: what is read, and how often."""

from __future__ import annotations

from typing import Any

from monitors.recorder.devices.activity import Activity, activity_values
from monitors.recorder.devices.binding import MIB, first, nv, scaled, text, watts
from monitors.recorder.devices.field_values import FieldValues
from monitors.recorder.devices.health import Health
from monitors.recorder.devices.power_samples import PowerSamples
from monitors.recorder.devices.processes import Processes
from monitors.recorder.devices.query import DeviceQuery
from monitors.recorder.devices.schedule import Schedule
from monitors.records import GpuInfo, GpuSample

ENERGY_EVERY = 10
"""Ticks between two readings of the energy counter, which takes some 2.6 ms."""
ACTIVITY_EVERY = 5
"""Ticks between two readings of GPM, NVLink and the gathered power samples. Each covers all time
since the one before, so only resolution is lost, and room on the disk saved."""
POWER_EVERY, POWER_S = 2, 1.0
"""Ticks and seconds between two readings of the driver's power samples: it keeps 2.4 s of them."""
HEALTH_EVERY = 30
"""Ticks between two readings of error counts and processes."""


class _NvmlGpu:
    """What whole GPUs and MIG instances share. `own` is what is sampled, `parent` the whole GPU."""

    def __init__(self, parent: DeviceQuery, own: DeviceQuery, xids_watched: bool) -> None:
        self.parent, self.own = parent, own
        self._xids = 0 if xids_watched else None
        self._more_xids = False
        self._health, self._processes = Health(parent), Processes(own)
        self._health_schedule = Schedule(HEALTH_EVERY, parent.index, most_s=60)
        self._activity_schedule = Schedule(ACTIVITY_EVERY, parent.index, most_s=10)

    def count_xid(self) -> None:
        """Count an error that the driver reported."""
        self._xids, self._more_xids = (self._xids or 0) + 1, True

    def xids_unknown(self) -> None:
        """From now on errors are not watched: their number is unknown."""
        self._xids = None

    def poll_errors(self) -> list[str]:
        """What was noted since this was last called."""
        return list(dict.fromkeys([*self.parent.poll_errors(), *self.own.poll_errors()]))

    def _seldom(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        due = self._health_schedule.due()
        if due:
            values = {**self._health.sample(), **self._processes.sample()}
        if (due or self._more_xids) and self._xids is not None and not self.parent.lost:
            values["xid_errors"] = self._xids
            self._more_xids = False
        return values

    def _shared(self) -> dict[str, Any]:
        call = self.parent.call
        return {
            "temperature_c": call("temperature", nv.nvmlDeviceGetTemperature, 0),
            "memory_clock_mhz": call("memory clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_MEM),
            "sm_clock_mhz": call("SM clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_SM),
            "throttle": call("throttle reasons", _throttle),
        }

    def _memory_used(self) -> float | None:
        memory = self.own.call("memory", _memory)
        return None if memory is None else round(memory.used / MIB, 1)


class WholeGpu(_NvmlGpu):
    """A GPU that is not divided."""

    def __init__(self, index: int, handle: Any, xids_watched: bool) -> None:
        query = DeviceQuery(index, handle)
        super().__init__(query, query, xids_watched)
        self._fields, self._activity = FieldValues(query), Activity(query)
        self._power_samples = PowerSamples(query)
        self._energy_schedule = Schedule(ENERGY_EVERY, index)
        self._power_schedule = Schedule(POWER_EVERY, index, POWER_S, most_s=5)

    def info(self) -> GpuInfo:
        """What stays the same."""
        call = self.own.call
        memory, pci = call("memory", _memory), call("pci", nv.nvmlDeviceGetPciInfo)
        limit = call("power limit", nv.nvmlDeviceGetEnforcedPowerLimit)
        return GpuInfo(
            index=self.own.index,
            uuid=text(call("uuid", nv.nvmlDeviceGetUUID)),
            name=text(call("name", nv.nvmlDeviceGetName)),
            pci_bus=None if pci is None else text(pci.busId),
            memory_total_mib=None if memory is None else round(memory.total / MIB, 1),
            power_limit_w=scaled(limit, 1000),
        )

    def sample(self, slow_pcie: bool) -> GpuSample:
        """Values of this tick; with `slow_pcie` this GPU may read what blocks for 42 ms."""
        call = self.own.call
        use = call("utilization", nv.nvmlDeviceGetUtilizationRates)
        active = self._activity_schedule.due()
        values: dict[str, Any] = {**self._fields.read(links=active)}
        if slow_pcie and not self._fields.has("pcie_rx_mb_s"):
            for name, way in (("pcie_rx_mb_s", 1), ("pcie_tx_mb_s", 0)):
                rate = call(name, nv.nvmlDeviceGetPcieThroughput, way)
                values[name] = scaled(rate, 1000)
        joules = None
        if self._energy_schedule.due():
            joules = call("energy", nv.nvmlDeviceGetTotalEnergyConsumption)
        if active:
            links = not self._fields.has("nvlink_rx_mb_s")
            values |= activity_values(self._activity.sample(), links=links, instance=False)
        if self._power_schedule.due():
            self._power_samples.gather()
        if active:
            values |= self._power_samples.sample()
        power = call("power", nv.nvmlDeviceGetPowerUsage)
        return GpuSample(
            index=self.own.index,
            power_w=None if power is None else watts(power),
            sm_pct=None if use is None else use.gpu,
            mem_pct=None if use is None else use.memory,
            enc_pct=first(call("encoder", nv.nvmlDeviceGetEncoderUtilization)),
            dec_pct=first(call("decoder", nv.nvmlDeviceGetDecoderUtilization)),
            jpg_pct=first(call("jpeg", nv.nvmlDeviceGetJpgUtilization)),
            ofa_pct=first(call("optical flow", nv.nvmlDeviceGetOfaUtilization)),
            memory_used_mib=self._memory_used(),
            energy_j=scaled(joules, 1000),
            **self._shared(),
            **values,
            **self._seldom(),
        )


class MigInstance(_NvmlGpu):
    """A MIG instance: its memory, and its work through GPM alone.

    Power, energy and traffic are of the whole GPU, which others may use too: not sampled here.
    """

    def __init__(self, index: int, parent: Any, handle: Any, xids_watched: bool) -> None:
        super().__init__(DeviceQuery(index, parent), DeviceQuery(index, handle), xids_watched)
        instance = self.own.call("instance", nv.nvmlDeviceGetGpuInstanceId)
        self._activity = None if instance is None else Activity(self.parent, instance)

    def info(self) -> GpuInfo:
        """What stays the same."""
        call = self.own.call
        memory = call("memory", _memory)
        pci = self.parent.call("pci", nv.nvmlDeviceGetPciInfo)
        return GpuInfo(
            index=self.own.index,
            uuid=text(call("uuid", nv.nvmlDeviceGetUUID)),
            name=text(call("name", nv.nvmlDeviceGetName)),
            pci_bus=None if pci is None else text(pci.busId),
            memory_total_mib=None if memory is None else round(memory.total / MIB, 1),
        )

    def sample(self, slow_pcie: bool) -> GpuSample:
        """Values of this tick."""
        # Every tick: nothing else says whether an instance works.
        found = {} if self._activity is None else self._activity.sample()
        return GpuSample(
            index=self.own.index,
            memory_used_mib=self._memory_used(),
            **self._shared(),
            **activity_values(found, links=False, instance=True),
            **self._seldom(),
        )


def mig_instances_of(parent: Any) -> list[Any]:
    """Return handles of a GPU's MIG instances that this job may use; none of a whole GPU."""
    try:
        if nv.nvmlDeviceGetMigMode(parent)[0] != nv.NVML_DEVICE_MIG_ENABLE:
            return []
        most = nv.nvmlDeviceGetMaxMigDeviceCount(parent)
    except nv.NVMLError:
        return []
    found = []
    for at in range(most):
        try:
            found.append(nv.nvmlDeviceGetMigDeviceHandleByIndex(parent, at))
        except nv.NVMLError:  # numbers without an instance lie between those with one
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
