"""Fast power: the driver keeps the readings of the last seconds, some 20 ms apart."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from monitors.devices.asking import Asker
from monitors.devices.binding import nv, whole

_WHAT = "power readings"


class PowerRing:
    """Drains what the driver has gathered about one GPU since the last time."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._seen = 0
        self._drain()  # what is in it from before the record began is not told

    def sample(self) -> dict[str, Any]:
        """Highest, lowest and mean of the readings, in W; nothing where there is none."""
        points = self._drain()
        if not points:
            return {}
        watts = [point / 1000 for point in points]
        return {
            "power_max_w": round(max(watts)),
            "power_min_w": round(min(watts)),
            "power_mean_w": round(fmean(watts)),
        }

    def _drain(self) -> list[int]:
        answer = self._asker.ask(_WHAT, _samples, self._seen)
        if answer is None:
            return []
        kind, samples = answer
        fresh = [sample for sample in samples if sample.timeStamp > self._seen]
        self._seen = max((sample.timeStamp for sample in fresh), default=self._seen)
        return [whole(sample.sampleValue, kind) for sample in fresh]


def _samples(handle: Any, seen: int) -> tuple[int, list[Any]]:
    try:
        kind, samples = nv.nvmlDeviceGetSamples(handle, nv.NVML_TOTAL_POWER_SAMPLES, seen)
    except nv.NVMLError_NotFound:  # nothing new
        return 0, []
    return int(kind), list(samples)
