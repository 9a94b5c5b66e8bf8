"""Columns made from columns: rates from counters, and yes-or-no values whose mean is a share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitors.analysis.trace import Column, NodeTrace

_MB = 1e6
POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
"""NVML's reasons that hold the clocks back."""
LOW_PCT = 15
"""A GPU whose kernels ran for less of a second than this did next to nothing in it."""
SPIN_PCT = 80
SPIN_POWER = 0.5
"""Share of the power limit: kernels that run all the time below it wait in a collective."""
_KEPT = (
    "sm_pct", "power_w", "memory_used_mib", "temperature_c", "sm_clock_mhz",
    "pcie_rx_mb_s", "pcie_tx_mb_s", "power_capped", "hot",
)  # fmt: skip
_KEPT_HOST = (
    "cpu_busy_pct", "cpu_iowait_pct", "mem_used_mib", "mem_total_mib", "swap_used_mib",
    "swap_mib_s", "cgroup_mem_mib", "cgroup_limit_mib", "load1", "psi_cpu_pct", "psi_memory_pct",
    "psi_io_pct", "rank_ran_pct", "rank_queued_pct", "rank_cpu_pct",
)  # fmt: skip
_RATES = {
    "net_rx_bytes": ("net_rx_mb_s", _MB),
    "net_tx_bytes": ("net_tx_mb_s", _MB),
    "ib_rx_bytes": ("ib_rx_mb_s", _MB),
    "ib_tx_bytes": ("ib_tx_mb_s", _MB),
    "cgroup_cpu_s": ("cgroup_cores", 1.0),
    "cgroup_throttled_s": ("throttled", 1.0),
    "oom_kills": ("oom_kills_s", 1.0),
}
_SELDOM = ("tensor_active_pct", "nvlink_rx_mb_s", "nvlink_tx_mb_s")
"""Told every few ticks, of all the time since they were told before."""
_MOST_HELD = 15
"""Ticks that one such value can be of."""
GPU_COLUMNS = (*_KEPT, *_SELDOM, "throttle", "energy_j")
HOST_COLUMNS = (*_KEPT_HOST, *_RATES)
"""Recorded values that anything here is made from."""

_THROTTLE_REASONS = (
    ("power_capped", POWER_CAP),
    ("hot", SW_THERMAL | HW_THERMAL),
    ("held_back", HW_SLOWDOWN | POWER_BRAKE),
)
GPU_LOADED = frozenset(
    (*_KEPT, *(name for name, _ in _THROTTLE_REASONS), "low", "spinning", "tensor_active_pct",
     "nvlink_mb_s", "energy_w")
)  # fmt: skip
"""Columns of a GPU that `derived` can make: what findings and plots may ask for."""
HOST_LOADED = frozenset((*_KEPT_HOST, *(name for name, _ in _RATES.values())))
"""The same of a node."""


def derived(trace: NodeTrace) -> tuple[dict[str, Column], list[dict[str, Column]]]:
    """Columns of the host, and of each GPU, that are shown or judged."""
    host = {name: trace.host[name] for name in _KEPT_HOST if name in trace.host}
    for counter, (name, unit) in _RATES.items():
        if counter in trace.host:
            host[name] = rate(trace, trace.host[counter]) / unit
    return host, [_gpu(trace, gpu.columns, gpu.info.power_limit_w) for gpu in trace.gpus]


def rate(trace: NodeTrace, counter: Column) -> Column:
    """Growth per second of a counter; unknown across a start, and where it was reset."""
    found = np.full(len(counter), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        grown, passed = np.diff(counter), np.diff(trace.mono)
        good = (grown >= 0) & (passed > 1e-4) & (np.diff(trace.session) == 0)
        found[1:][good] = grown[good] / passed[good]
    return found


def _gpu(trace: NodeTrace, columns: dict[str, Column], limit_w: float | None) -> dict[str, Column]:
    found = {name: columns[name] for name in _KEPT if name in columns}
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
        if "tensor_active_pct" in columns:
            found["tensor_active_pct"] = held(columns["tensor_active_pct"], trace.session)
        if "nvlink_rx_mb_s" in columns and "nvlink_tx_mb_s" in columns:
            both = columns["nvlink_rx_mb_s"] + columns["nvlink_tx_mb_s"]
            found["nvlink_mb_s"] = held(both, trace.session)
        if "energy_j" in columns:
            found["energy_w"] = _energy(trace, columns["energy_j"])
    return found


def held(column: Column, session: NDArray[np.int64]) -> Column:
    """A column told every few ticks, where each value is of the ticks before it as well."""
    at = np.arange(len(column))
    known = np.flatnonzero(~np.isnan(column))
    if not len(known):
        return column
    place = np.minimum(np.searchsorted(known, at), len(known) - 1)
    near = known[place]
    good = (near >= at) & (near - at < _MOST_HELD) & (session[near] == session)
    return np.where(good, column[near], np.nan)


def _highest(power: Column | None) -> float | None:
    """The most power that was seen, for want of the limit."""
    known = power[~np.isnan(power)] if power is not None else ()
    return float(np.max(known)) if len(known) else None


def _energy(trace: NodeTrace, joules: Column) -> Column:
    """Power by the energy counter, which is read only every few samples, at those samples."""
    found = np.full(len(joules), np.nan)
    known = np.flatnonzero(~np.isnan(joules))
    if len(known) > 1:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            grown, passed = np.diff(joules[known]), np.diff(trace.mono[known])
            good = (grown >= 0) & (passed > 1e-4) & (np.diff(trace.session[known]) == 0)
            found[known[1:][good]] = grown[good] / passed[good]
    return found


def _where(true: np.ndarray, known: Column) -> Column:
    """1 and 0, unknown where the value it was made from is."""
    return np.where(np.isnan(known), np.nan, true.astype(np.float64))
