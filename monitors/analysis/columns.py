"""Columns made from columns: rates from counters, and yes-or-no values whose mean is a share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitors.analysis.trace import NodeTrace
from monitors.external.rows import FLAGS, RUNNABLE
from monitors.samples.fields import GPU_METRICS, HOST_METRICS, report_columns
from monitors.storage.block_arrays import FloatArray

_MB = 1e6
POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
"""NVML's reasons that hold the clocks back."""
LOW_PCT = 15
"""A GPU whose kernels ran for less of a second than this did next to nothing in it."""
SPIN_PCT = 80
SPIN_POWER = 0.5
"""Share of the power limit: kernels that run all the time below it wait in a collective."""
_COUNTED = {
    "net_rx_bytes": ("net_rx_mb_s", _MB),
    "net_tx_bytes": ("net_tx_mb_s", _MB),
    "ib_rx_bytes": ("ib_rx_mb_s", _MB),
    "ib_tx_bytes": ("ib_tx_mb_s", _MB),
    "cgroup_cpu_s": ("cgroup_cores", 1.0),
    "cgroup_throttled_s": ("throttled", 1.0),
}
"""Rates of counters that have a name or a unit of their own; any other is NAME_s, by the second."""
_RATES = {
    name: _COUNTED.get(name, (f"{name}_s", 1.0))
    for name in report_columns().host
    if HOST_METRICS[name].counter
}
_HOST_GAUGES = tuple(name for name in report_columns().host if name not in _RATES)
_GPU_GAUGES = tuple(name for name in report_columns().gpu if not GPU_METRICS[name].seldom)
_HELD = tuple(name for name in report_columns().gpu if GPU_METRICS[name].seldom)
"""Read every few ticks, of all the time since they were read before."""
_FROM_OTHER_TOOLS = FLAGS
"""Computed here from `throttle`, but other tools' tables have them as they are."""
_INPUTS = ("throttle", "energy_j", "nvlink_rx_mb_s", "nvlink_tx_mb_s")
"""Values that are loaded only to compute others from them."""
_MOST_HELD = 15
"""Ticks that one such value can be of."""
GPU_COLUMNS = (*report_columns().gpu, *_INPUTS)
HOST_COLUMNS = report_columns().host
"""Recorded values that must be loaded for `derived`."""
_THROTTLE_REASONS = (
    ("power_capped", POWER_CAP),
    ("hot", SW_THERMAL | HW_THERMAL),
    ("held_back", HW_SLOWDOWN | POWER_BRAKE),
)
_COMPUTED = (
    "low", "spinning", "nvlink_mb_s", "energy_w", *(name for name, _ in _THROTTLE_REASONS)
)  # fmt: skip
GPU_LOADED = frozenset({*report_columns().gpu, *_COMPUTED})
"""Columns of a GPU that `derived` can return: what findings and plots may ask for. Another sampled
value is loaded once it is declared with `report=True` in `monitors.samples`."""
HOST_LOADED = frozenset({*_HOST_GAUGES, RUNNABLE, *(name for name, _ in _RATES.values())})
"""The same of a node."""


def derived(trace: NodeTrace) -> tuple[dict[str, FloatArray], list[dict[str, FloatArray]]]:
    """Return the columns of the host, and of each GPU, that are shown or judged."""
    gauges = (*_HOST_GAUGES, RUNNABLE)
    host = {name: trace.host[name] for name in gauges if name in trace.host}
    for counter, (name, unit) in _RATES.items():
        if counter in trace.host:
            host[name] = rate(trace, trace.host[counter]) / unit
    return host, [_gpu(trace, gpu.columns, gpu.info.power_limit_w) for gpu in trace.gpus]


def rate(trace: NodeTrace, counter: FloatArray) -> FloatArray:
    """Growth per second of a counter; unknown across a start, and where it was reset."""
    found = np.full(len(counter), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        grown, passed = np.diff(counter), np.diff(trace.mono)
        good = (grown >= 0) & (passed > 1e-4) & (np.diff(trace.session) == 0)
        found[1:][good] = grown[good] / passed[good]
    return found


def _gpu(
    trace: NodeTrace, columns: dict[str, FloatArray], limit_w: float | None
) -> dict[str, FloatArray]:
    shown = (*_GPU_GAUGES, *_FROM_OTHER_TOOLS)
    found = {name: columns[name] for name in shown if name in columns}
    for name in _HELD:
        if name in columns:
            found[name] = held(columns[name], trace.session)
    with np.errstate(invalid="ignore"):
        sm, power = columns.get("sm_pct"), columns.get("power_w")
        if sm is not None:
            found["low"] = _where(sm < LOW_PCT, sm)
        limit_w = limit_w or _highest(power)
        if sm is not None and power is not None and limit_w:
            spinning = (sm >= SPIN_PCT) & (power < SPIN_POWER * limit_w)
            found["spinning"] = _where(spinning, sm + power)
        mask = columns.get("throttle")
        if mask is not None:
            bits = np.where(np.isnan(mask), 0, np.clip(mask, 0, 2**52)).astype(np.int64)
            for name, wanted in _THROTTLE_REASONS:
                found[name] = _where(bits & wanted != 0, mask)
        if "nvlink_rx_mb_s" in columns and "nvlink_tx_mb_s" in columns:
            both = columns["nvlink_rx_mb_s"] + columns["nvlink_tx_mb_s"]
            found["nvlink_mb_s"] = held(both, trace.session)
        if "energy_j" in columns:
            found["energy_w"] = _energy(trace, columns["energy_j"])
    return found


def held(column: FloatArray, session: NDArray[np.int64]) -> FloatArray:
    """Return a column read every few ticks, where each value is of the ticks before it as well."""
    at = np.arange(len(column))
    known = np.flatnonzero(~np.isnan(column))
    if not len(known):
        return column
    place = np.minimum(np.searchsorted(known, at), len(known) - 1)
    near = known[place]
    good = (near >= at) & (near - at < _MOST_HELD) & (session[near] == session)
    return np.where(good, column[near], np.nan)


def _highest(power: FloatArray | None) -> float | None:
    """The most power that was seen, for want of the limit."""
    known = power[~np.isnan(power)] if power is not None else ()
    return float(np.max(known)) if len(known) else None


def _energy(trace: NodeTrace, joules: FloatArray) -> FloatArray:
    """Power by the energy counter, which is read only every few samples, at those samples."""
    found = np.full(len(joules), np.nan)
    known = np.flatnonzero(~np.isnan(joules))
    if len(known) > 1:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            grown, passed = np.diff(joules[known]), np.diff(trace.mono[known])
            good = (grown >= 0) & (passed > 1e-4) & (np.diff(trace.session[known]) == 0)
            found[known[1:][good]] = grown[good] / passed[good]
    return found


def _where(true: np.ndarray, known: FloatArray) -> FloatArray:
    """1 and 0, unknown where the value it was made from is."""
    return np.where(np.isnan(known), np.nan, true.astype(np.float64))
