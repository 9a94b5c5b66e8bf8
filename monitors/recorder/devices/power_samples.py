"""Fast power: the driver keeps the readings of the last seconds, some 20 ms apart."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from monitors.recorder.devices.binding import nv, watts, whole
from monitors.recorder.devices.query import DeviceQuery

_WHAT = "power readings"


class PowerSamples:
    """Gathers the power samples of one GPU before the driver drops them."""

    def __init__(self, query: DeviceQuery) -> None:
        self._query = query
        self._seen = 0
        self._milliwatts: list[int] = []
        self._drain()  # samples from before the recording began do not count

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
        answer = self._query.call(_WHAT, _samples, self._seen)
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
