"""Values that NVML keeps as fields (nvmlDeviceGetFieldValues): one row of `FIELDS` each."""

from __future__ import annotations

import time
from dataclasses import dataclass

from monitors.recorder.devices.binding import for_good, nv, whole
from monitors.recorder.devices.query import DeviceQuery

_ALL_LINKS = 0xFFFFFFFF
_DIGITS = 7
"""Binary digits of a rate that are recorded."""


@dataclass(frozen=True)
class Field:
    """A field of NVML's, by its number in nvml.h."""

    number: int
    counted_in_bytes: int | None = None
    """Bytes in a unit of a cumulative field, whose rate is recorded; None: its value is."""
    divisor: int = 1
    """What a value, of a field that is not cumulative, is divided by: NVML may keep mW or mJ."""
    of_links: bool = False
    """Whether it is summed over all NVLinks, and read every few ticks alone."""


FIELDS = {
    "memory_temperature_c": Field(82),
    "pcie_tx_mb_s": Field(197, counted_in_bytes=1),
    "pcie_rx_mb_s": Field(198, counted_in_bytes=1),
    "nvlink_tx_mb_s": Field(138, counted_in_bytes=1024, of_links=True),
    "nvlink_rx_mb_s": Field(139, counted_in_bytes=1024, of_links=True),
}
"""By the name of the sampled value in `monitors.samples.gpu`."""
_NAMES = {field.number: name for name, field in FIELDS.items()}


class FieldValues:
    """The fields of one GPU. Those it does not have are read once."""

    def __init__(self, query: DeviceQuery) -> None:
        self._query = query
        self._offered = set(FIELDS)
        self._before: dict[str, tuple[int, float]] = {}
        # Which of them exist is found out now, and the first tick has something to compare with.
        self.read(links=True)

    def has(self, name: str) -> bool:
        """Whether the GPU offers a value."""
        return name in self._offered

    def read(self, links: bool) -> dict[str, float]:
        """Return values by name, cumulative ones as MB/s since they were last read.

        Those of NVLink only with `links`.
        """
        requested = [
            (field.number, _ALL_LINKS) if field.of_links else field.number
            for name, field in FIELDS.items()
            if name in self._offered and (links or not field.of_links)
        ]
        if not requested:
            return {}
        answers = self._query.call("fields", nv.nvmlDeviceGetFieldValues, requested)
        if answers is None:
            if not self._query.supports("fields"):
                self._offered.clear()
            return {}
        values: dict[str, float] = {}
        now = time.monotonic()
        for answer in answers:
            name = _NAMES[answer.fieldId]
            if answer.nvmlReturn != nv.NVML_SUCCESS:
                if answer.nvmlReturn in for_good() and name not in self._before:
                    self._offered.discard(name)
                continue
            field = FIELDS[name]
            value, unit = whole(answer.value, answer.valueType), field.counted_in_bytes
            if unit is None:
                values[name] = value if field.divisor == 1 else value / field.divisor
                continue
            before, then = self._before.get(name, (value, now))
            self._before[name] = (value, now)
            if now > then and value >= before:
                values[name] = rough((value - before) * unit / (now - then) / 1e6)
        return values


def rough(rate: float) -> int:
    """Return a rate as a whole number, to a hundredth of itself or better.

    What is finer is noise, which takes more room on the disk than all else.
    """
    number = round(rate)
    shift = max(0, number.bit_length() - _DIGITS)
    return (number + (1 << shift >> 1)) >> shift << shift
