"""Fast power: the driver keeps the readings of the last seconds, some 20 ms apart."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from monitors.recorder.devices.binding import nv, watts, whole
from monitors.recorder.devices.query import DeviceQuery

_WHAT = "power readings"


class PowerRing:
    """Gathers the readings of one GPU: the driver is asked before it forgets them."""

    def __init__(self, asker: DeviceQuery) -> None:
        self._asker = asker
        self._seen = 0
        self._milliwatts: list[int] = []
        self._drain()  # what is in it from before the record began is not told

    def gather(self) -> None:
        """Take what is new."""
        self._milliwatts += self._drain()

    def sample(self) -> dict[str, Any]:
        """Highest, lowest and mean since the last sample, in W; nothing where nothing came."""
        points, self._milliwatts = self._milliwatts, []
        if not points:
            return {}
        return {
            "power_max_w": watts(max(points)),
            "power_min_w": watts(min(points)),
            "power_mean_w": watts(fmean(points)),
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
