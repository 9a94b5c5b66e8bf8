"""A GPU of Intel's, by the files of its kernel drivers, xe and i915.

The kernel names the sensors in ABI/testing/sysfs-driver-intel-xe-hwmon and
ABI/testing/sysfs-driver-intel-i915-hwmon (`energy1_input`, `power1_max`, the temperatures), and
what each part of the chip (GT) shows in the chapters on xe's GT idle and GT frequency
(`gtidle/idle_residency_ms`, `freq0/act_freq`); of i915 they are under `gt/gtN`. How much memory is
in use no file tells: it stays unknown.
"""

from __future__ import annotations

import time
from pathlib import Path

from monitors.recorder.devices.binding import MIB
from monitors.recorder.devices.files import (
    Answering,
    Numbers,
    hwmon_of,
    labelled,
    line_in,
    number_in,
)
from monitors.recorder.devices.schedule import Schedule
from monitors.records import GpuInfo, GpuSample

_ENERGY_EVERY = 10
_POWER_CAP, _THERMAL = 0x4, 0x20
"""In the bits of NVML, as the record has them for all makers."""
_REASONS = {
    "pl1": _POWER_CAP,
    "pl2": _POWER_CAP,
    "pl4": _POWER_CAP,
    "thermal": _THERMAL,
    "prochot": _THERMAL,
}


class IntelGpu:
    """One GPU, all its tiles together."""

    def __init__(self, index: int, card: Path) -> None:
        self.index = index
        self._device = device = card / "device"
        self._hwmon = hwmon = hwmon_of(device, ("xe", "i915"))
        temperature = labelled(hwmon, "temp", "pkg") or (hwmon and hwmon / "temp1_input")
        self._numbers = Numbers(
            {
                "energy": hwmon and hwmon / "energy1_input",
                "temperature": temperature,
                "memory temperature": labelled(hwmon, "temp", "vram"),
            }
        )
        self._parts = [*map(_xe_part, _xe_parts(device)), *map(_i915_part, _i915_parts(card))]
        self._before: tuple[float, int | None, list[int | None]] | None = None
        self._schedule, self._answering = Schedule(_ENERGY_EVERY, index), Answering(index)
        self._rates()  # gives the first tick something to compare

    @property
    def computes(self) -> bool:
        """Whether it is more than what a processor has for its picture: that has no sensors."""
        return "energy" in self._numbers or self._total() is not None

    def info(self) -> GpuInfo:
        """What stays the same."""
        limit = None if self._hwmon is None else number_in(self._hwmon / "power1_max")
        model = line_in(self._device / "device")
        bus = self._device.resolve().name
        return GpuInfo(
            index=self.index,
            uuid=f"GPU-{bus}",
            name=model and f"Intel GPU {model}",
            pci_bus=bus,
            memory_total_mib=self._total(),
            power_limit_w=round(limit / 1e6, 1) if limit else None,
        )

    def sample(self) -> GpuSample:
        """Values of this tick."""
        power, busy, joules = self._rates()
        clocks = [clock for part in self._parts if (clock := part.read("clock")) is not None]
        self._answering.see(joules is not None or bool(clocks))
        return GpuSample(
            index=self.index,
            power_w=power,
            temperature_c=self._numbers.scaled("temperature", 1000, 0),
            memory_temperature_c=self._numbers.scaled("memory temperature", 1000, 0),
            sm_pct=busy,
            sm_clock_mhz=max(clocks, default=None),
            throttle=self._throttle(),
            energy_j=joules if self._schedule.due() else None,
        )

    def poll_errors(self) -> list[str]:
        """What was noted since this was last called."""
        return self._answering.take()

    def _rates(self) -> tuple[int | None, int | None, float | None]:
        """Power and share of the time at work since the last call; and joules so far."""
        now = time.monotonic()
        energy = self._numbers.read("energy")
        idle = [part.read("idle") for part in self._parts]
        before, self._before = self._before, (now, energy, idle)
        joules = None if energy is None else round(energy / 1e6, 1)
        if before is None or now <= before[0]:
            return None, None, joules
        passed = now - before[0]
        power = None
        if energy is not None and before[1] is not None and energy >= before[1]:
            power = round((energy - before[1]) / 1e6 / passed)
        shares = [
            min(1.0, (new - old) / 1000 / passed)
            for new, old in zip(idle, before[2], strict=True)
            if new is not None and old is not None and new >= old
        ]
        busy = round(100 * (1 - sum(shares) / len(shares))) if shares else None
        return power, busy, joules

    def _throttle(self) -> int | None:
        found = [
            bit if value else 0
            for part in self._parts
            for name, bit in _REASONS.items()
            if (value := part.read(name)) is not None
        ]
        mask = 0
        for bit in found:
            mask |= bit
        return mask if found else None

    def _total(self) -> float | None:
        paths = [
            *self._device.glob("tile*/physical_vram_size_bytes"),
            *self._device.glob("tile*/memory/physical_vram_size_bytes"),
        ]
        sizes = [size for path in paths if (size := number_in(path))]
        return round(sum(sizes) / MIB, 1) if sizes else None


def _xe_parts(device: Path) -> list[Path]:
    """Those that compute: `gtidle/name` ends with `-rc`, for media it ends with `-mc`."""
    found = sorted(device.glob("tile*/gt*"))
    return [gt for gt in found if (line_in(gt / "gtidle/name") or "-rc").endswith("-rc")]


def _xe_part(gt: Path) -> Numbers:
    reasons = {name: gt / "freq0/throttle" / f"reason_{name}" for name in _REASONS}
    return Numbers(
        {"idle": gt / "gtidle/idle_residency_ms", "clock": gt / "freq0/act_freq", **reasons}
    )


def _i915_parts(card: Path) -> list[Path]:
    return sorted((card / "gt").glob("gt*"))


def _i915_part(gt: Path) -> Numbers:
    reasons = {name: gt / f"throttle_reason_{name}" for name in _REASONS}
    return Numbers({"idle": gt / "rc6_residency_ms", "clock": gt / "rps_act_freq_mhz", **reasons})
