"""How much of a GPU works, through NVML's GPU performance monitoring (GPM): Hopper and later.

It compares two samples. The one of the last turn is kept, so nothing waits for the second.
"""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Any

from monitors.recorder.devices.binding import nv
from monitors.recorder.devices.field_values import rough
from monitors.recorder.devices.query import DeviceQuery

_GRAPHICS, _SM, _TENSOR, _DRAM, _NVLINK_RX, _NVLINK_TX = 1, 2, 5, 10, 60, 61
_METRICS = (_GRAPHICS, _SM, _TENSOR, _DRAM, _NVLINK_RX, _NVLINK_TX)
_MB_A_MIB = 1.048576
_LEAST_S = 0.095
"""Samples that lie closer together than a tenth of a second cannot be compared."""
_WHAT = "activity"


class Activity:
    """GPM (GPU performance monitoring) of one GPU, or of one of its MIG instances."""

    def __init__(self, query: DeviceQuery, instance: int | None = None) -> None:
        """`instance` is the number of a MIG instance; `query` is of the whole GPU then."""
        self._query, self._instance = query, instance
        self._last: Any = None
        self._at = 0.0
        support = query.call("GPM", nv.nvmlGpmQueryDeviceSupport)
        self._supported = support is not None and bool(support.isSupportedDevice)
        self._buffers: list[Any] = []
        if self._supported:
            buffers = [query.call("GPM", lambda _: nv.nvmlGpmSampleAlloc()) for _ in (0, 1)]
            self._supported = None not in buffers
            self._buffers = buffers
            self._take()

    def sample(self) -> dict[int, float]:
        """Values by metric, over the time since this was last called; see `activity_values`."""
        before, then = self._last, self._at
        if not self._supported or time.monotonic() - then < _LEAST_S:
            return {}
        if not self._take() or before is None:
            return {}
        request = _request()
        request.sample1, request.sample2 = before, self._last
        if self._query.call(_WHAT, lambda _: nv.nvmlGpmMetricsGet(request)) is None:
            return {}
        found = {}
        for at, metric in enumerate(_METRICS):
            answer = request.metrics[at]
            known = answer.nvmlReturn == nv.NVML_SUCCESS and math.isfinite(answer.value)
            if known and answer.value >= 0:
                found[metric] = float(answer.value)
        return found

    def _take(self) -> bool:
        """Take a sample; without one, what comes next has nothing to be compared with."""
        buffer = self._buffers[0] if self._last is not self._buffers[0] else self._buffers[1]
        self._last = self._query.call(_WHAT, self._get, buffer)
        self._at = time.monotonic()
        return self._last is not None

    def _get(self, handle: Any, buffer: Any) -> Any:
        if self._instance is None:
            return nv.nvmlGpmSampleGet(handle, buffer)
        return nv.nvmlGpmMigSampleGet(handle, self._instance, buffer)


def activity_values(found: dict[int, float], *, links: bool, instance: bool) -> dict[str, Any]:
    """GPM's answers by the names of `GpuSample`.

    With `links` also NVLink's traffic, for GPUs without counters of it; with `instance` also the
    share of the time in which a kernel ran, which NVML itself has for whole GPUs alone.
    """
    names = {_SM: "sm_active_pct", _TENSOR: "tensor_active_pct", _DRAM: "dram_active_pct"}
    if instance:
        names[_GRAPHICS] = "sm_pct"
    values: dict[str, Any] = {
        name: round(found[metric]) for metric, name in names.items() if metric in found
    }
    if links:
        for metric, name in ((_NVLINK_RX, "nvlink_rx_mb_s"), (_NVLINK_TX, "nvlink_tx_mb_s")):
            if metric in found:
                values[name] = rough(found[metric] * _MB_A_MIB)
    return values


@cache
def _request() -> Any:
    """One for all GPUs, which are read one after the other: it takes 23 KB."""
    request = nv.c_nvmlGpmMetricsGet_t()
    request.version = nv.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(_METRICS)
    for at, metric in enumerate(_METRICS):
        request.metrics[at].metricId = metric
    return request
