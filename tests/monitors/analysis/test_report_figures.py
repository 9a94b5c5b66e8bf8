"""The report's figures, against figures worked out here from the same values in another way."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.analysis.analysis import build
from monitors.analysis.summary import GpuSummary, NodeSummary, Stat
from monitors.records import GpuInfo, GpuSample, HostSample, OwnCost, Record
from tests.monitors.recorded import GPU_A, GPU_B, end, start, tick, write_samples

GPU_VALUES = (
    "sm_pct",
    "mem_pct",
    "power_w",
    "temperature_c",
    "memory_used_mib",
    "pcie_rx_mb_s",
    "pcie_tx_mb_s",
)
HOST_VALUES = (
    "cpu_busy_pct",
    "cpu_iowait_pct",
    "mem_used_mib",
    "swap_used_mib",
    "cgroup_mem_mib",
)


def only_node(folder: Path) -> NodeSummary:
    report = build(folder)
    assert report.problems == ()
    (node,) = report.nodes
    return node


def by_hand(values: list[float | None]) -> Stat:
    known = [value for value in values if value is not None]
    if not known:
        return Stat(None, None, 0)
    return Stat(statistics.fmean(known), max(known), len(known))


def same(mine: Stat, theirs: Stat) -> bool:
    pairs = ((mine.mean, theirs.mean), (mine.peak, theirs.peak))
    return mine.count == theirs.count and all(
        a is b is None or (a is not None and b is not None and abs(a - b) < 0.006) for a, b in pairs
    )


value = st.none() | st.floats(-100, 100_000) | st.integers(0, 100)


def gpu_of(index: int) -> st.SearchStrategy[GpuSample]:
    return st.builds(GpuSample, st.just(index), **dict.fromkeys(GPU_VALUES, value))


gpu_rows = st.lists(
    st.tuples(gpu_of(0), gpu_of(1)),
    min_size=1,
    max_size=12,
)
host_rows = st.lists(
    st.builds(HostSample, **dict.fromkeys(HOST_VALUES, value)), min_size=12, max_size=12
)


@settings(deadline=None, max_examples=60)
@given(gpu_rows, host_rows)
def test_means_and_peaks_are_those_of_the_known_values(
    tmp_path_factory: pytest.TempPathFactory,
    gpus: list[tuple[GpuSample, GpuSample]],
    hosts: list[HostSample],
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    ticks = [tick(n, *pair, host=hosts[n]) for n, pair in enumerate(gpus)]
    write_samples(folder, [start(GPU_A, GPU_B), *ticks])
    node = only_node(folder)
    assert node.samples == len(gpus)
    for index, summary in enumerate(node.gpus):
        for name in GPU_VALUES:
            assert same(
                getattr(summary, name), by_hand([getattr(pair[index], name) for pair in gpus])
            )
    for name in HOST_VALUES:
        wanted = by_hand([getattr(host, name) for host in hosts[: len(gpus)]])
        assert same(getattr(node, name), wanted)


def test_a_run_with_figures_known_beforehand(tmp_path: Path) -> None:
    powers, traffic = (100, 300, None, 200), (0, 3_000_000, 4_000_000, 4_000_000)
    ticks = [
        tick(
            n,
            GpuSample(0, power_w=power, sm_pct=50 + n, energy_j=1000 + 200 * n if n != 1 else None),
            GpuSample(1, memory_used_mib=1024 * n),
            host=HostSample(
                net_rx_bytes=10**12 + moved,
                ib_tx_bytes=2 * moved,
                mem_total_mib=1024,
                cgroup_limit_mib=512,
            ),
            own=OwnCost(0.01, 10_240) if n == 0 else None,
        )
        for n, (power, moved) in enumerate(zip(powers, traffic, strict=True))
    ]
    records: list[Record] = [start(GPU_A, GPU_B), *ticks, end(4.25, 4, cpu_s=0.04)]
    write_samples(tmp_path, records)
    node = only_node(tmp_path)
    assert (node.starts, node.samples, node.missed, node.gpu_missed) == (1, 4, 0, 0)
    assert (node.began, node.last) == ("2026-09-21T14:13:20+00:00", "2026-09-21T14:13:24+00:00")
    assert node.duration_s == 4
    assert node.end_reason == "SIGTERM"
    assert node.own_cpu_pct == 1  # 0.04 s of 4 s
    assert node.own_max_rss_mib == 20
    assert (node.mem_total_mib, node.cgroup_limit_mib) == (1024, 512)
    # 4 MB in the three seconds between four readings; the fastest second brought 3 MB.
    assert node.net_rx_mb_s == Stat(1.333, 3, 3)
    assert node.ib_tx_mb_s == Stat(2.667, 6, 3)
    assert node.net_tx_mb_s == node.ib_rx_mb_s == Stat()
    first, second = node.gpus
    assert first == GpuSummary(
        *(0, "GPU-aaaa", "NVIDIA A100-SXM4-80GB", "00000000:07:00.0", 81920, 400, 4),
        sm_pct=Stat(51.5, 53, 4),
        power_w=Stat(200, 300, 3),
        energy_j=600,
    )
    assert second.memory_used_mib == Stat(1536, 3072, 4)
    assert (second.energy_j, second.power_w) == (None, Stat())


def test_a_counter_that_was_reset_is_left_out(tmp_path: Path) -> None:
    readings = (5_000_000, 7_000_000, 1_000_000, 2_000_000)
    ticks = [
        tick(n, GpuSample(0, energy_j=value / 1e4), host=HostSample(net_tx_bytes=value))
        for n, value in enumerate(readings)
    ]
    write_samples(tmp_path, [start(GPU_A), *ticks])
    node = only_node(tmp_path)
    assert node.net_tx_mb_s == Stat(1.5, 2, 2)
    assert node.gpus[0].energy_j == 300


def test_gpus_are_told_apart_by_their_uuid_over_a_requeue(tmp_path: Path) -> None:
    """The second start gets the same GPUs under swapped numbers."""
    low, high = HostSample(net_rx_bytes=1), HostSample(net_rx_bytes=10**12)
    swapped = (GpuInfo(0, "GPU-bbbb"), GpuInfo(1, "GPU-aaaa"))
    records: list[Record] = [
        start(GPU_A, GPU_B),
        tick(
            0, GpuSample(0, sm_pct=10, energy_j=100), GpuSample(1, sm_pct=90, energy_j=0), host=low
        ),
        start(*swapped, after=60),
        tick(0, GpuSample(0, sm_pct=80, energy_j=9), GpuSample(1, sm_pct=20), host=high, after=60),
        tick(1, GpuSample(0, sm_pct=80, energy_j=10), GpuSample(1, energy_j=900), after=60),
    ]
    write_samples(tmp_path, records)
    node = only_node(tmp_path)
    found = {gpu.uuid: (gpu.sm_pct.mean, gpu.sm_pct.count, gpu.energy_j) for gpu in node.gpus}
    assert found == {
        "GPU-aaaa": (15, 2, None),
        "GPU-bbbb": (pytest.approx(250 / 3, abs=0.01), 3, 1),
    }
    assert node.starts == 2
    assert node.net_rx_mb_s == Stat()  # two boots, perhaps: not to be compared
    assert node.duration_s == 1 + 2  # the minute between is under no record
