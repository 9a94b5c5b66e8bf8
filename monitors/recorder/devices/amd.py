"""A GPU of AMD's, by the files of amdgpu.

The kernel's documentation names them in gpu/amdgpu/thermal.rst (`gpu_busy_percent`,
`mem_busy_percent`, the sensors under `hwmon`) and gpu/amdgpu/driver-misc.rst (`mem_info_vram_used`,
`product_name`, `unique_id`), the error counts in gpu/amdgpu/ras.rst. `pcie_bw`, also there, is not
read: it stands still for a second to count.
"""

from __future__ import annotations

import re
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
from monitors.recorder.devices.health import EccGrowth
from monitors.recorder.devices.schedule import Schedule
from monitors.recorder.kernel_files import open_file, read_file
from monitors.records import GpuInfo, GpuSample

_LEAST_MIB = 4096
"""A GPU that is part of a processor has less memory of its own."""
_HEALTH_EVERY = 30
_ERRORS = re.compile(rb"\b(ue|ce): *(\d+)")


class AmdGpu:
    """One GPU."""

    def __init__(self, index: int, card: Path) -> None:
        self.index = index
        self._device = device = card / "device"
        self._hwmon = hwmon = hwmon_of(device, ("amdgpu",))
        power = None
        if hwmon is not None:  # an average where the chip makes one, else what it reads
            names = ("power1_average", "power1_input")
            power = next((hwmon / name for name in names if (hwmon / name).exists()), None)
        self._numbers = Numbers(
            {
                "busy": device / "gpu_busy_percent",
                "memory busy": device / "mem_busy_percent",
                "used": device / "mem_info_vram_used",
                "power": power,
                "temperature": labelled(hwmon, "temp", "edge", "junction"),
                "memory temperature": labelled(hwmon, "temp", "mem"),
                "clock": labelled(hwmon, "freq", "sclk"),
                "memory clock": labelled(hwmon, "freq", "mclk"),
            }
        )
        self._errors = open_file(device / "ras/umc_err_count")
        self._schedule, self._ecc_growth = Schedule(_HEALTH_EVERY, index, most_s=60), EccGrowth()
        self._answering = Answering(index)

    @property
    def computes(self) -> bool:
        """Whether it is more than what a processor has for its picture."""
        return (self._total() or 0.0) >= _LEAST_MIB

    def info(self) -> GpuInfo:
        """What stays the same."""
        cap = None if self._hwmon is None else number_in(self._hwmon / "power1_cap")
        model = line_in(self._device / "device")
        return GpuInfo(
            index=self.index,
            uuid=_unique(line_in(self._device / "unique_id")),
            name=line_in(self._device / "product_name") or (model and f"AMD GPU {model}"),
            pci_bus=self._device.resolve().name,
            memory_total_mib=self._total(),
            power_limit_w=round(cap / 1e6, 1) if cap else None,
        )

    def sample(self) -> GpuSample:
        """Values of this tick."""
        numbers = self._numbers
        corrected, uncorrected = self._counted() if self._schedule.due() else (None, None)
        busy, power = numbers.read("busy"), numbers.read("power")
        used = numbers.scaled("used", MIB)
        self._answering.see(any(value is not None for value in (busy, power, used)))
        return GpuSample(
            index=self.index,
            power_w=None if power is None else round(power / 1e6),
            temperature_c=numbers.scaled("temperature", 1000, 0),
            memory_temperature_c=numbers.scaled("memory temperature", 1000, 0),
            sm_pct=busy,
            mem_pct=numbers.read("memory busy"),
            memory_clock_mhz=numbers.scaled("memory clock", 1e6, 0),
            sm_clock_mhz=numbers.scaled("clock", 1e6, 0),
            memory_used_mib=used,
            ecc_corrected=corrected,
            ecc_uncorrected=uncorrected,
        )

    def poll_errors(self) -> list[str]:
        """What was noted since this was last called."""
        return self._answering.take()

    def _total(self) -> float | None:
        total = number_in(self._device / "mem_info_vram_total")
        return None if total is None else round(total / MIB, 1)

    def _counted(self) -> tuple[int | None, int | None]:
        found = {kind: int(count) for kind, count in _ERRORS.findall(read_file(self._errors))}
        text = self._ecc_growth.message(found.get(b"ue"))
        if text:
            self._answering.note(text)
        return found.get(b"ce"), found.get(b"ue")


def _unique(number: str | None) -> str | None:
    return f"GPU-{number}" if number and number.strip("0") else None
