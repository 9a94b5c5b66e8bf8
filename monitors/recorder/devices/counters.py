"""Values that NVML keeps as fields: the memory's temperature, PCIe and NVLink traffic."""

from __future__ import annotations

import time
from typing import Any

from monitors.recorder.devices.binding import for_good, nv, whole
from monitors.recorder.devices.query import DeviceQuery

MEMORY_TEMPERATURE = 82
PCIE_TX, PCIE_RX = 197, 198
NVLINK_TX, NVLINK_RX = 138, 139
_ALL_LINKS = 0xFFFFFFFF
_UNITS = {PCIE_TX: 1, PCIE_RX: 1, NVLINK_TX: 1024, NVLINK_RX: 1024}
"""Bytes that a counter counts in."""
_DIGITS = 7
"""Binary digits of a rate that are recorded."""


class Counters:
    """The fields of one GPU. Those it does not have are read once."""

    def __init__(self, query: DeviceQuery) -> None:
        self._query = query
        self._fields: dict[int, Any] = {
            MEMORY_TEMPERATURE: MEMORY_TEMPERATURE,
            PCIE_TX: PCIE_TX,
            PCIE_RX: PCIE_RX,
            NVLINK_TX: (NVLINK_TX, _ALL_LINKS),
            NVLINK_RX: (NVLINK_RX, _ALL_LINKS),
        }
        self._before: dict[int, tuple[int, float]] = {}
        # Which of them exist is found out now, and the first tick has something to compare with.
        self.read(links=True)

    def has(self, field: int) -> bool:
        """Whether the GPU offers a field."""
        return field in self._fields

    def read(self, links: bool) -> dict[int, float]:
        """Return values by field; the cumulative bytes as MB/s since they were last read.

        Those of NVLink only with `links`.
        """
        wanted = [
            name
            for field, name in self._fields.items()
            if links or field not in (NVLINK_TX, NVLINK_RX)
        ]
        if not wanted:
            return {}
        answers = self._query.call("fields", nv.nvmlDeviceGetFieldValues, wanted)
        if answers is None:
            if not self._query.supports("fields"):
                self._fields = {}
            return {}
        found: dict[int, float] = {}
        now = time.monotonic()
        for answer in answers:
            if answer.nvmlReturn != nv.NVML_SUCCESS:
                if answer.nvmlReturn in for_good() and answer.fieldId not in self._before:
                    self._fields.pop(answer.fieldId, None)
                continue
            value = whole(answer.value, answer.valueType)
            unit = _UNITS.get(answer.fieldId)
            if unit is None:
                found[answer.fieldId] = value
                continue
            before, then = self._before.get(answer.fieldId, (value, now))
            self._before[answer.fieldId] = (value, now)
            if now > then and value >= before:
                found[answer.fieldId] = rough((value - before) * unit / (now - then) / 1e6)
        return found


def rough(rate: float) -> int:
    """A rate to a whole number, and to a hundredth of itself or better.

    What is finer is noise, which takes more room on the disk than all else.
    """
    number = round(rate)
    shift = max(0, number.bit_length() - _DIGITS)
    return (number + (1 << shift >> 1)) >> shift << shift
