"""Errors of a GPU's memory: counts of ECC, and rows that were replaced by spare ones."""

from __future__ import annotations

from typing import Any

from monitors.recorder.devices.binding import nv
from monitors.recorder.devices.query import DeviceQuery

_CORRECTED, _UNCORRECTED = 0, 1
_SINCE_BOOT, _EVER = 0, 1
_COUNTS = (
    ("ecc_corrected", _CORRECTED, _SINCE_BOOT),
    ("ecc_uncorrected", _UNCORRECTED, _SINCE_BOOT),
    ("ecc_corrected_ever", _CORRECTED, _EVER),
    ("ecc_uncorrected_ever", _UNCORRECTED, _EVER),
)


class EccGrowth:
    """Follows the count of uncorrected errors."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._reported = 0

    def message(self, count: int | None) -> str | None:
        """Return a message where the count grew: at the first error, then whenever it has doubled.

        What was counted before the record began is none of the job's errors.
        """
        if count is None:
            return None
        if self._first is None or count < self._first:
            self._first = count
        grown = count - self._first
        if grown < max(1, 2 * self._reported):
            return None
        self._reported = grown
        return f"{grown} uncorrected ECC error{'s' * (grown != 1)}"


class Health:
    """Counts of one GPU; notes what a job should not go on with."""

    def __init__(self, query: DeviceQuery) -> None:
        self._query = query
        self._ecc_growth = EccGrowth()
        self._reported: set[str] = set()

    def sample(self) -> dict[str, Any]:
        """Values by the names of `GpuSample`; what the GPU does not count is left out."""
        found: dict[str, Any] = {}
        for name, kind, since in _COUNTS:
            count = self._query.call(name, nv.nvmlDeviceGetTotalEccErrors, kind, since)
            if count is not None:
                found[name] = int(count)
        rows = self._query.call("remapped rows", nv.nvmlDeviceGetRemappedRows)
        if rows is not None:
            corrected, uncorrected, pending, failed = (int(value) for value in rows)
            found["rows_remapped"] = corrected + uncorrected
            found["remap_pending"], found["remap_failed"] = int(pending > 0), int(failed > 0)
        self._judge(found)
        return found

    def _judge(self, found: dict[str, Any]) -> None:
        grown = self._ecc_growth.message(found.get("ecc_uncorrected"))
        if grown:
            self._query.note(grown)
        for name, text in (
            ("remap_pending", "a row of its memory waits to be remapped: it needs a reset"),
            ("remap_failed", "a row of its memory could not be remapped"),
        ):
            if found.get(name) and name not in self._reported:
                self._reported.add(name)
                self._query.note(text)
