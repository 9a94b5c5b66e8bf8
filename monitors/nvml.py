"""GPU values through NVML. Each value is probed once: what a device does not offer is not asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from monitors.model import DeviceError, GpuInfo, GpuSample

_NO_BINDING = ""
try:
    import pynvml
except ModuleNotFoundError:  # a machine without GPUs need not have it
    pynvml, _NO_BINDING = None, "the Python package nvidia-ml-py is not installed"
except Exception as error:  # nor may a broken one cost the host's record
    pynvml, _NO_BINDING = None, f"pynvml cannot be imported: {type(error).__name__}: {error}"

_T = TypeVar("_T")
_MIB = 1024 * 1024
ENERGY_EVERY = 10
"""Ticks between two readings of the energy counter, which takes some 2.6 ms."""
_MEMORY_TEMPERATURE, _PCIE_TX, _PCIE_RX = 82, 197, 198


class NvmlSource:
    """All GPUs that NVML shows to this process; a `monitors.model.DeviceSource`."""

    def __init__(self) -> None:
        self._devices: list[_Device] = []
        self._notes: list[str] = []

    def open(self) -> tuple[GpuInfo, ...]:
        """Load NVML and look each GPU up. Raises DeviceError with the reason when that fails."""
        if pynvml is None:
            raise DeviceError(_NO_BINDING)
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise DeviceError(f"NVML: {error}") from error
        for index in range(count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            except pynvml.NVMLError as error:  # one that fell off the bus: not the others' fault
                self._notes.append(f"GPU {index} cannot be sampled: {error}")
            else:
                self._devices.append(_Device(index, handle))
        if self._notes and not self._devices:
            raise DeviceError("; ".join(self._notes))
        return tuple(device.info() for device in self._devices)

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        # GetPcieThroughput blocks for 21 ms a direction. Asking one GPU a tick in turn bounds that.
        turn = n % len(self._devices) if self._devices else 0
        return tuple(device.sample(slow_pcie=at == turn) for at, device in enumerate(self._devices))

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        mine, self._notes = self._notes, []
        return (*mine, *(note for device in self._devices for note in device.take_notes()))


class _Device:
    """One GPU, and what has been learnt about which questions it answers."""

    def __init__(self, index: int, handle: Any) -> None:
        self._index, self._handle = index, handle
        self._unsupported: set[str] = set()
        self._failing: set[str] = set()
        self._lost = False
        self._samples = 0
        self._notes: list[str] = []
        self._fields: list[int] = [_MEMORY_TEMPERATURE, _PCIE_TX, _PCIE_RX]
        self._traffic: dict[int, tuple[int, float]] = {}
        self._ask_fields()  # finds out which exist, and gives the first tick something to compare

    def info(self) -> GpuInfo:
        memory = self._ask("memory", _memory)
        pci = self._ask("pci", pynvml.nvmlDeviceGetPciInfo)
        limit = self._ask("power limit", pynvml.nvmlDeviceGetEnforcedPowerLimit)
        return GpuInfo(
            index=self._index,
            uuid=_text(self._ask("uuid", pynvml.nvmlDeviceGetUUID)),
            name=_text(self._ask("name", pynvml.nvmlDeviceGetName)),
            pci_bus=None if pci is None else _text(pci.busId),
            memory_total_mib=None if memory is None else round(memory.total / _MIB, 1),
            power_limit_w=_scaled(limit, 1000),
        )

    def sample(self, slow_pcie: bool) -> GpuSample:
        ask, nv = self._ask, pynvml
        # The first time, and then at another tick for every GPU so that no tick bears them all.
        energy = self._samples == 0 or (self._samples + self._index) % ENERGY_EVERY == 0
        self._samples += 1
        use = ask("utilization", nv.nvmlDeviceGetUtilizationRates)
        memory = ask("memory", _memory)
        fields = self._ask_fields()
        rx, tx = fields.get(_PCIE_RX), fields.get(_PCIE_TX)
        if slow_pcie and _PCIE_RX not in self._fields:
            rx = _scaled(ask("PCIe rx", nv.nvmlDeviceGetPcieThroughput, 1), 1000)
            tx = _scaled(ask("PCIe tx", nv.nvmlDeviceGetPcieThroughput, 0), 1000)
        joules = ask("energy", nv.nvmlDeviceGetTotalEnergyConsumption) if energy else None
        return GpuSample(
            index=self._index,
            power_w=_scaled(ask("power", nv.nvmlDeviceGetPowerUsage), 1000),
            temperature_c=ask("temperature", nv.nvmlDeviceGetTemperature, 0),
            memory_temperature_c=fields.get(_MEMORY_TEMPERATURE),
            sm_pct=None if use is None else use.gpu,
            mem_pct=None if use is None else use.memory,
            enc_pct=_first(ask("encoder", nv.nvmlDeviceGetEncoderUtilization)),
            dec_pct=_first(ask("decoder", nv.nvmlDeviceGetDecoderUtilization)),
            jpg_pct=_first(ask("jpeg", nv.nvmlDeviceGetJpgUtilization)),
            ofa_pct=_first(ask("optical flow", nv.nvmlDeviceGetOfaUtilization)),
            memory_clock_mhz=ask("memory clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_MEM),
            sm_clock_mhz=ask("SM clock", nv.nvmlDeviceGetClockInfo, nv.NVML_CLOCK_SM),
            pcie_rx_mb_s=rx,
            pcie_tx_mb_s=tx,
            memory_used_mib=None if memory is None else round(memory.used / _MIB, 1),
            throttle=ask("throttle reasons", _throttle),
            energy_j=_scaled(joules, 1000),
        )

    def take_notes(self) -> list[str]:
        taken, self._notes = self._notes, []
        return taken

    def _ask(self, what: str, call: Callable[..., _T], *more: int) -> _T | None:
        if self._lost or what in self._unsupported:
            return None
        try:
            answer = call(self._handle, *more)
        except pynvml.NVMLError as error:
            self._refused(what, error)
            return None
        self._failing.discard(what)
        return answer

    def _refused(self, what: str, error: Any) -> None:
        nv = pynvml
        if error.value in (nv.NVML_ERROR_GPU_IS_LOST, nv.NVML_ERROR_RESET_REQUIRED):
            self._lost = True
            self._notes.append(f"GPU {self._index} is no longer sampled: {error}")
        elif error.value in _for_good():
            self._unsupported.add(what)
        elif what not in self._failing:  # may pass: ask again next tick, but tell only once
            self._failing.add(what)
            self._notes.append(f"GPU {self._index}: {what} failed: {error}")

    def _ask_fields(self) -> dict[int, float]:
        """Values of the fields; the cumulative PCIe bytes as MB/s since they were last asked."""
        if not self._fields:
            return {}
        answers = self._ask("fields", pynvml.nvmlDeviceGetFieldValues, list(self._fields))  # type: ignore[arg-type]
        if answers is None:
            if "fields" in self._unsupported:
                self._fields = []
            return {}
        found: dict[int, float] = {}
        now = time.monotonic()
        for answer in answers:
            if answer.nvmlReturn != pynvml.NVML_SUCCESS:
                if answer.nvmlReturn in _for_good():
                    self._fields.remove(answer.fieldId)
                continue
            value = _field_value(answer)
            if answer.fieldId == _MEMORY_TEMPERATURE:
                found[answer.fieldId] = value
                continue
            before, then = self._traffic.get(answer.fieldId, (value, now))
            self._traffic[answer.fieldId] = (value, now)
            if now > then and value >= before:
                found[answer.fieldId] = round((value - before) / (now - then) / 1e6, 1)
        return found


def _for_good() -> tuple[int, ...]:
    """Errors that will be the same at every later tick."""
    return (
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_NO_PERMISSION,
    )


def _memory(handle: Any) -> Any:
    try:
        # Version 1 counts what the driver keeps for itself as used.
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError_FunctionNotFound:
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def _throttle(handle: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except pynvml.NVMLError_FunctionNotFound:  # the name before driver 535
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _field_value(answer: Any) -> int:
    union = answer.value
    by_type = (union.dVal, union.uiVal, union.ulVal, union.ullVal, union.sllVal, union.siVal)
    return int(by_type[answer.valueType] if answer.valueType < len(by_type) else union.usVal)


def _first(pair: Any) -> int | None:
    return None if pair is None else int(pair[0])


def _scaled(value: int | None, divisor: int) -> float | None:
    return None if value is None else round(value / divisor, 1)


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
