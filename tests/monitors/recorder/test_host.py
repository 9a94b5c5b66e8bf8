"""Host values, from a made-up /proc and /sys whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitors.recorder.host import HostSampler
from monitors.recorder.procfs import HostFiles
from monitors.records import HostSample

MIB = 1 << 20
MEMINFO = {
    "MemTotal": 1024 * 1024,
    "MemFree": 100 * 1024,
    "MemAvailable": 256 * 1024,
    "Buffers": 7,
    "Cached": 1000,
    "SwapCached": 55,
    "SwapTotal": 4096,
    "SwapFree": 1024,
    "SReclaimable": 24,
}


class Root:
    """Stands in for `/`. Files are rewritten in place, as the sampler keeps them open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("proc/meminfo", "".join(f"{k}: {v:9d} kB\n" for k, v in MEMINFO.items()))
        self.put("proc/loadavg", "1.25 0.50 0.10 3/456 789\n")
        self.cpu(0, 0, 0, 0, 0, 0, 0, 0)
        self.vm(0, 0, 0, 0)

    def put(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def cpu(self, *ticks: int, interrupts: int = 0, switches: int = 0) -> None:
        numbers = " ".join(map(str, ticks))
        self.put(
            "proc/stat",
            f"cpu  {numbers} 0 0\ncpu0 {numbers} 0 0\nintr {interrupts} 1 2 3\nctxt {switches}\n"
            "btime 1\nprocesses 99\nprocs_running 3\nprocs_blocked 2\nsoftirq 5 6\n",
        )

    def vm(self, paged_in: int, paged_out: int, swapped_in: int, swapped_out: int) -> None:
        self.put(
            "proc/vmstat",
            f"nr_free_pages 1\npgpgin {paged_in}\npgpgout {paged_out}\n"
            f"pswpin {swapped_in}\npswpout {swapped_out}\n",
        )

    def net(self, **interfaces: tuple[int, int]) -> None:
        rows = "".join(
            f"{name:>6}: {rx} 1 0 0 0 0 0 0 {tx} 2 0 0 0 0 0 0\n"
            for name, (rx, tx) in interfaces.items()
        )
        self.put("proc/net/dev", f"Inter-|   Receive\n face |bytes\n{rows}")

    def read(self) -> HostSample:
        return HostSampler(HostFiles(self.path), FakeClock()).sample()[0]


class FakeClock:
    """Two seconds pass between any two looks."""

    def __init__(self) -> None:
        self._now = 0.0

    def mono(self) -> float:
        self._now += 2
        return self._now

    def wall(self) -> float:
        return self._now

    def wait(self, seconds: float) -> str | None:
        raise AssertionError("nobody waits here")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_every_value_in_its_unit(root: Root) -> None:
    sampler = HostSampler(HostFiles(root.path), FakeClock())
    #        user nice sys idle wait irq soft steal: 1000 ticks in all
    root.cpu(200, 50, 100, 400, 150, 20, 30, 50, interrupts=300, switches=501)
    root.vm(80, 6480, 3, 5)
    sample, row = sampler.sample()
    assert sample == HostSample(
        cpu_busy_pct=45,
        cpu_iowait_pct=15,
        load1=1.25,
        mem_used_mib=768,
        mem_total_mib=1024,
        swap_used_mib=3,
        swap_mib_s=0.02,
    )
    assert row == {
        **{"r": 3, "b": 2, "swpd": 3072, "free": 102400, "buff": 7, "cache": 1024},
        **{"si": 6, "so": 10, "bi": 40, "bo": 3240, "in": 150, "cs": 250},
        **{"us": 25, "sy": 15, "id": 40, "wa": 15, "st": 5},
    }


def test_each_call_covers_the_time_since_the_last(root: Root) -> None:
    sampler = HostSampler(HostFiles(root.path), FakeClock())
    root.cpu(100, 0, 0, 0, 0, 0, 0, 0)
    assert sampler.sample()[0].cpu_busy_pct == 100
    root.cpu(125, 0, 0, 75, 0, 0, 0, 0)
    assert sampler.sample()[0].cpu_busy_pct == 25
    sample, row = sampler.sample()  # no tick of the clock passed: nothing is known of the time
    assert (sample.cpu_busy_pct, sample.cpu_iowait_pct, row) == (None, None, None)


def test_counters_that_run_backwards_are_not_negative(root: Root) -> None:
    root.cpu(100, 0, 0, 500, 90, 0, 0, 0, switches=10)
    sampler = HostSampler(HostFiles(root.path), FakeClock())
    root.cpu(150, 0, 0, 550, 80, 0, 0, 0, switches=4)
    sample, row = sampler.sample()
    assert (sample.cpu_busy_pct, sample.cpu_iowait_pct) == (50, 0)
    assert row is not None
    assert (row["wa"], row["cs"]) == (0, 0)


def test_what_is_missing_is_unknown(tmp_path: Path) -> None:
    sampler = HostSampler(HostFiles(tmp_path), FakeClock())
    assert sampler.sample() == (HostSample(), None)


def test_a_kernel_without_one_counter_leaves_the_others(root: Root) -> None:
    root.put("proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1024 kB\n")
    sampler = HostSampler(HostFiles(root.path), FakeClock())
    root.cpu(1, 0, 0, 1, 0, 0, 0, 0)
    sample, row = sampler.sample()
    assert (sample.mem_total_mib, sample.mem_used_mib, sample.swap_used_mib) == (2, None, None)
    assert sample.cpu_busy_pct == 50
    assert row is None  # vmstat knows no blank


def test_traffic_is_that_of_the_hardware(root: Root) -> None:
    root.net(lo=(7, 7), eth0=(100, 200), eth1=(10, 20), bond0=(110, 220))
    for name in ("lo", "eth0", "eth1", "bond0"):
        folder = root.path / "sys/class/net" / name
        (folder / "device" if name.startswith("eth") else folder).mkdir(parents=True)
    sample = root.read()
    assert (sample.net_rx_bytes, sample.net_tx_bytes) == (110, 220)


def test_in_a_container_all_but_the_loopback_count(root: Root) -> None:
    root.net(lo=(7, 7), eth0=(100, 200))
    assert root.read().net_rx_bytes == 100
    root.net(lo=(7, 7))
    assert root.read().net_rx_bytes is None


def test_infiniband_counts_words_of_four_bytes(root: Root) -> None:
    for port, (rx, tx) in {"mlx5_0/ports/1": (10, 20), "mlx5_1/ports/1": (1, 2)}.items():
        root.put(f"sys/class/infiniband/{port}/counters/port_rcv_data", f"{rx}\n")
        root.put(f"sys/class/infiniband/{port}/counters/port_xmit_data", f"{tx}\n")
    root.put("sys/class/infiniband/mlx5_2/ports/1/counters/port_rcv_data", "99\n")
    sample = root.read()
    assert (sample.ib_rx_bytes, sample.ib_tx_bytes) == (44, 88)


V2 = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n"
V1 = "9:cpu,cpuacct:/\n4:memory:/slurm/uid_1000/job_7/step_0/task_0\n0::/\n"


@pytest.mark.parametrize(
    ("group", "limit", "known"),
    [
        ("job_7", f"{512 * MIB}", 512),
        ("job_7", "max", None),
        ("sCPHM8GZ5NK700", f"{512 * MIB}", 512),  # Slurm 26.05
    ],
)
def test_memory_of_the_job_in_a_cgroup_of_version_2(
    root: Root, group: str, limit: str, known: float | None
) -> None:
    root.put("proc/self/cgroup", V2.replace("job_7", group))
    job = f"sys/fs/cgroup/system.slice/slurmstepd.scope/{group}"
    root.put(f"{job}/memory.current", f"{300 * MIB}\n")
    root.put(f"{job}/memory.max", f"{limit}\n")
    root.put(f"{job}/memory.stat", f"anon 5\nfile 6\ninactive_file {44 * MIB}\n")
    root.put(f"{job}/step_0/user/task_0/memory.current", "1\n")
    sample = root.read()
    assert (sample.cgroup_mem_mib, sample.cgroup_limit_mib) == (256, known)


@pytest.mark.parametrize(("limit", "known"), [(f"{512 * MIB}", 512), ("9223372036854771712", None)])
def test_memory_of_the_job_in_a_cgroup_of_version_1(
    root: Root, limit: str, known: float | None
) -> None:
    root.put("proc/self/cgroup", V1)
    job = "sys/fs/cgroup/memory/slurm/uid_1000/job_7"
    root.put(f"{job}/memory.usage_in_bytes", f"{300 * MIB}\n")
    root.put(f"{job}/memory.limit_in_bytes", f"{limit}\n")
    root.put(f"{job}/memory.stat", f"inactive_file 1\ncache 9\ntotal_inactive_file {44 * MIB}\n")
    sample = root.read()
    assert (sample.cgroup_mem_mib, sample.cgroup_limit_mib) == (256, known)


def test_cpu_and_kills_of_the_job_in_a_cgroup_of_version_2(root: Root) -> None:
    root.put("proc/self/cgroup", V2)
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    root.put(f"{job}/memory.current", "1\n")
    root.put(f"{job}/memory.events", "low 0\nhigh 0\nmax 7\noom 5\noom_kill 2\n")
    root.put(f"{job}/cpu.stat", "usage_usec 2500000\nnr_throttled 9\nthrottled_usec 1250000\n")
    sample = root.read()
    assert (sample.cgroup_cpu_s, sample.cgroup_throttled_s, sample.oom_kills) == (2.5, 1.25, 2)


def test_cpu_and_kills_of_the_job_in_a_cgroup_of_version_1(root: Root) -> None:
    job = "slurm/uid_1000/job_7"
    root.put("proc/self/cgroup", f"9:cpu,cpuacct:/{job}/step_0\n4:memory:/{job}/step_0\n0::/\n")
    root.put(f"sys/fs/cgroup/cpuacct/{job}/cpuacct.usage", "2500000000\n")
    root.put(f"sys/fs/cgroup/cpu/{job}/cpu.stat", "nr_throttled 9\nthrottled_time 1250000000\n")
    root.put(f"sys/fs/cgroup/memory/{job}/memory.oom_control", "under_oom 0\noom_kill 2\n")
    sample = root.read()
    assert (sample.cgroup_cpu_s, sample.cgroup_throttled_s, sample.oom_kills) == (2.5, 1.25, 2)


def test_the_whole_machine_is_not_taken_for_the_job(root: Root) -> None:
    root.put("proc/self/cgroup", "9:cpu,cpuacct:/\n")
    root.put("sys/fs/cgroup/cpuacct/cpuacct.usage", "2500000000\n")
    assert root.read().cgroup_cpu_s is None


def test_pressure_is_the_share_of_time_that_some_task_stood_still(root: Root) -> None:
    def stalls(cpu: int, io: int) -> None:
        for name, total in {"cpu": cpu, "io": io}.items():
            avg = "avg10=9.00 avg60=9.00 avg300=9.00"
            root.put(f"proc/pressure/{name}", f"some {avg} total={total}\nfull {avg} total=7\n")

    stalls(1000, 0)
    sampler = HostSampler(HostFiles(root.path), FakeClock())
    stalls(501_000, 3_000_000)
    sample = sampler.sample()[0]
    assert (sample.psi_cpu_pct, sample.psi_io_pct, sample.psi_memory_pct) == (25, 100, None)


def test_a_cgroup_without_memory_is_unknown(root: Root) -> None:
    root.put("proc/self/cgroup", V2)
    sample = root.read()
    assert (sample.cgroup_mem_mib, sample.cgroup_limit_mib) == (None, None)


def test_files_that_vanish_while_open_do_not_raise(root: Root) -> None:
    folder = "sys/class/infiniband/mlx5_0/ports/1/counters"
    root.put(f"{folder}/port_rcv_data", "10\n")
    root.put(f"{folder}/port_xmit_data", "10\n")
    files = HostFiles(root.path)
    root.put(f"{folder}/port_rcv_data", "")
    assert files.read().ib is None
