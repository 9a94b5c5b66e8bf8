"""Ticks of a node at work as real ones look: nothing stands still, so nothing packs for free.

Training in steps of ten seconds or so with a checkpoint every quarter of an hour: power that swings
with every step and shivers by tens of watts, temperatures that follow it, clocks that flicker, PCIe
and network traffic in bursts, memory that breathes, counters that never grow alike twice. All
values have the resolution in which the sidecar records them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monitors.external.vmstat import COLUMNS
from monitors.recorder.devices.field_values import rough
from monitors.recorder.devices.gpu import ACTIVITY_EVERY, ENERGY_EVERY, HEALTH_EVERY
from monitors.records import End, GpuInfo, GpuSample, HostSample, OwnCost, Start, Tick
from monitors.storage.formats import json_lines
from monitors.storage.journal import Journal
from tests.monitors.recorded import MONO, NOON

LIMIT_W = 700.0
CARD_MIB = 81559.0
CHECKPOINT_S = 900
OWN_EVERY = 30


def infos(node: int, gpus: int) -> tuple[GpuInfo, ...]:
    return tuple(
        GpuInfo(at, f"GPU-{node:04d}-{at}", "NVIDIA H100 80GB HBM3", f"{at:02X}", CARD_MIB, LIMIT_W)
        for at in range(gpus)
    )


class RestlessGpu:
    """One GPU; `sample` gives its next second."""

    def __init__(self, index: int, dice: random.Random) -> None:
        self._index, self._dice = index, dice
        self._heat = 55.0 + 6 * dice.random()
        self._wander = 0.0
        self._allocated = 71_000.0 + 50 * dice.randrange(40)
        self._joules = 1e6 * dice.randrange(100, 900)
        self._offset = dice.uniform(-15, 15)
        self._corrected = 0

    def sample(self, t: int, load: float) -> GpuSample:
        dice = self._dice
        self._wander = 0.95 * self._wander + dice.gauss(0, 4)
        power = 110 + self._offset + 500 * load + self._wander + dice.gauss(0, 18)
        power = round(min(max(power, 75.0), LIMIT_W + dice.gauss(0, 2)))
        self._heat += 0.02 * (30 + power / 18 + self._offset / 10 - self._heat) + dice.gauss(0, 0.1)
        self._joules += power + dice.gauss(0, 2)
        if dice.random() < 0.01:
            self._allocated = 71_000.0 + 2 * dice.randrange(1000)
        busy = load > 0.2
        capped = power > 0.97 * LIMIT_W
        clock = (1980 - 15 * capped * dice.randrange(1, 14)) if busy else 1980
        return GpuSample(
            self._index,
            power_w=power,
            temperature_c=round(self._heat + dice.gauss(0, 0.4)),
            memory_temperature_c=round(self._heat + 12 + dice.gauss(0, 0.7)),
            sm_pct=min(100, max(0, round(100 * min(1, load + 0.15) - abs(dice.gauss(0, 1.2))))),
            mem_pct=min(100, max(0, round(48 * load + dice.gauss(0, 4)))),
            enc_pct=0,
            dec_pct=0,
            jpg_pct=0,
            ofa_pct=0,
            memory_clock_mhz=2619,
            sm_clock_mhz=clock,
            pcie_rx_mb_s=rough(math.exp(dice.gauss(4.5, 0.8)) * (0.2 + load)),
            pcie_tx_mb_s=rough(math.exp(dice.gauss(3.8, 0.8)) * (0.2 + load)),
            memory_used_mib=self._allocated,
            throttle=4 if capped else 0,
            energy_j=round(self._joules, 1) if self._turn(t, ENERGY_EVERY) else None,
            **self._seldom(t, load, power),
        )

    def _turn(self, t: int, every: int) -> bool:
        return (t + self._index) % every == 0

    def _seldom(self, t: int, load: float, power: float) -> dict[str, Any]:
        dice, found = self._dice, dict[str, Any]()
        if self._turn(t, ACTIVITY_EVERY):
            for name, most, shiver in (
                ("sm_active_pct", 92, 2), ("tensor_active_pct", 55, 3), ("dram_active_pct", 45, 3)
            ):  # fmt: skip
                found[name] = min(100, max(0, round(most * load + dice.gauss(0, shiver))))
            for name in ("nvlink_rx_mb_s", "nvlink_tx_mb_s"):
                found[name] = rough(max(0.0, 90_000 * load * dice.gauss(1, 0.12)))
            found["power_max_w"] = round(power + abs(dice.gauss(45, 15)))
            found["power_min_w"] = round(max(70.0, power - abs(dice.gauss(90, 30))))
            found["power_mean_w"] = round(power + dice.gauss(0, 8))
        if self._turn(t, HEALTH_EVERY):
            self._corrected += dice.random() < 0.01
            found |= {
                "xid_errors": 0,
                "ecc_corrected": self._corrected,
                "ecc_uncorrected": 0,
                "ecc_corrected_ever": 40 + self._corrected,
                "ecc_uncorrected_ever": 0,
                "rows_remapped": 1,
                "remap_pending": 0,
                "remap_failed": 0,
                "processes": 1,
                "processes_mib": self._allocated - 600,
                "largest_process_mib": self._allocated - 600,
                "strangers_mib": 0.0,
            }
        return found


class RestlessHost:
    """A node's CPUs, memory and links; `sample` gives its next second, and vmstat's row."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._used = 180_000.0
        self._cache = 600_000_000
        self._load1 = 12.0
        self._net = [dice.randrange(10**12), dice.randrange(10**12)]
        self._ib = [dice.randrange(10**14) * 4, dice.randrange(10**14) * 4]
        self._cpu_s = 500.0

    def sample(self, t: int, load: float, saving: bool) -> tuple[HostSample, tuple[int, ...]]:
        dice = self._dice
        busy = 14 * load + 4 + abs(dice.gauss(0, 1.5)) + 8 * saving
        self._used += dice.gauss(0, 25) + 0.02 * (180_000 - self._used)
        self._load1 += 0.02 * (18 * load + 2 + dice.gauss(0, 2) - self._load1)
        self._net[0] += int(math.exp(dice.gauss(12.5, 1)))
        self._net[1] += int(math.exp(dice.gauss(12, 1)) * (800 if saving else 1))
        for at in (0, 1):
            self._ib[at] += 4 * int(max(0.0, load * 4e9 * dice.gauss(1, 0.15)))
        self._cpu_s += 1.28 * busy + dice.gauss(0, 0.1)
        self._cache += dice.randrange(-200, 3000) * 4 + 2_000_000 * saving
        if self._cache > 900_000_000:
            self._cache -= 300_000_000
        host = HostSample(
            cpu_busy_pct=round(busy, 1),
            cpu_iowait_pct=round(abs(dice.gauss(0, 0.1)) + 3 * saving, 1),
            load1=round(self._load1, 2),
            mem_used_mib=round(self._used, 1),
            mem_total_mib=2_063_837.4,
            swap_used_mib=0.0,
            cgroup_mem_mib=round(self._used - 9000 + dice.gauss(0, 5), 1),
            cgroup_limit_mib=1_900_000.0,
            net_rx_bytes=self._net[0],
            net_tx_bytes=self._net[1],
            ib_rx_bytes=self._ib[0],
            ib_tx_bytes=self._ib[1],
            swap_mib_s=0.0,
            psi_cpu_pct=round(abs(dice.gauss(0, 0.8)), 1),
            psi_memory_pct=0.0,
            psi_io_pct=round(abs(dice.gauss(0, 0.3)) + 5 * saving, 1),
            cgroup_cpu_s=round(self._cpu_s, 3),
            cgroup_throttled_s=0.0,
            oom_kills=0,
        )
        free = 2_113_369_497 - round(self._used * 1024) - self._cache
        row = {
            "r": max(0, round(dice.gauss(16 * load, 3))),
            "b": dice.randrange(3) * saving,
            "free": free,
            "buff": 5_000_000 + 4 * (t // 20),
            "cache": self._cache,
            "bi": round(abs(dice.gauss(0, 400))) * 4,
            "bo": round(abs(dice.gauss(0, 150))) * 4 + 1_900_000 * saving,
            "in": round(90_000 * load + dice.gauss(15_000, 4000)),
            "cs": round(70_000 * load + dice.gauss(12_000, 4000)),
            "us": round(0.8 * busy),
            "sy": round(busy) - round(0.8 * busy),
            "id": 100 - round(busy),
        }
        return host, tuple(max(0, row.get(name, 0)) for name in COLUMNS)


def ticks(node: int, gpus: int, seconds: int, seed: int = 1) -> Iterator[Tick]:
    """The ticks of one node, second by second."""
    dice = random.Random(seed * 1000 + node)  # noqa: S311
    cards = [RestlessGpu(at, dice) for at in range(gpus)]
    host = RestlessHost(dice)
    step_s, into = 9.7, 0.0
    cpu_s = 0.1
    for t in range(seconds):
        into += 1
        if into > step_s:
            into -= step_s
            step_s = 9.7 + dice.gauss(0, 0.2)
        saving = t % CHECKPOINT_S < 25 and t >= CHECKPOINT_S
        load = 0.05 if saving else 0.45 if into < 1.3 else 1.0
        late = min(0.02, 0.0003 + dice.expovariate(3000))
        sampled = tuple(
            card.sample(t, min(1.0, max(0.0, load + dice.gauss(0, 0.02)))) for card in cards
        )
        values, row = host.sample(t, load, saving)
        cpu_s += 0.0009 + 0.0001 * dice.random()
        own = OwnCost(round(cpu_s, 3), 19_000 + t // 7200) if t % OWN_EVERY == 0 else None
        moment = t + 1 + late
        yield Tick(t, round(NOON + moment, 3), round(MONO + moment, 3), values, sampled, own, row)


def record(folder: Path, number: int, gpus: int, seconds: int) -> str:
    """Write a node's files as its sidecar would have; gives the node's name."""
    folder.mkdir(parents=True, exist_ok=True)
    node = f"n{number + 1}"
    journal = Journal(folder, node)
    start = Start(node, NOON, MONO, "UTC", 0, 1.0, infos(number, gpus), None)
    journal.append(json_lines.line(start))
    for tick in ticks(number, gpus, seconds):
        journal.append(json_lines.line(tick))
        journal.maybe_compact()
        journal.wait_for_compaction()
    cost = OwnCost(0.1 + 0.001 * seconds, 20_000)
    journal.append(json_lines.line(End(NOON + seconds, "SIGTERM", seconds, 0, cost)))
    journal.close()
    return node
