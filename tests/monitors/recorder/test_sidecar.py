"""The sidecar as a process on a machine without GPUs: signals, files, restarts."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitors.external.vmstat import VmstatReader
from monitors.recorder.clock import STOP_SIGNALS
from monitors.records import End, Start
from tests.monitors.running import end, of_kind, start_sidecar, table, wait_for_ticks


@pytest.mark.parametrize("how", list(STOP_SIGNALS))
def test_ends_in_order_on_a_signal(tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "new" / "metrics"
    (tmp_path / "new").mkdir()
    process = start_sidecar(out)
    wait_for_ticks(process, out, 3)
    assert end(process, how) < 1
    (foot,) = of_kind(out, End)
    assert foot.reason == how.name
    assert foot.ticks == len(wait_ticks(out))
    assert 0 < foot.own.cpu_s < 5
    assert 5_000 < foot.own.max_rss_kib < 60_000
    assert foot.lost_writes == 0


def wait_ticks(out: Path) -> list[str]:
    text = (out / "n1.samples.jsonl").read_text()
    return [line for line in text.splitlines() if '"kind":"tick"' in line]


def test_says_why_there_are_no_gpus_and_records_the_host(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    empty = tmp_path / "libnvidia-ml.so.1"
    empty.write_bytes(b"not a library")  # also on a machine that has the real one
    process = start_sidecar(out, library=tmp_path)
    ticks = wait_for_ticks(process, out, 3)
    end(process)
    (head,) = of_kind(out, Start)
    assert head.gpus == ()
    assert "NVML" in head.gpu_problem
    assert [path.name for path in out.iterdir()] == ["n1.samples.jsonl"]
    assert ticks[-1].gpus is None
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = int(memory["MemTotal"].split()[0])
    assert ticks[-1].host.mem_total_mib == pytest.approx(total / 1024, abs=1)
    assert 0 < (ticks[-1].host.mem_used_mib or 0) < total / 1024
    assert all(0 <= (tick.host.cpu_busy_pct or 0) <= 100 for tick in ticks)


def test_keeps_to_its_deadlines(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, "--interval", "0.2")
    ticks = wait_for_ticks(process, out, 6)
    end(process)
    (head,) = of_kind(out, Start)
    drift = [tick.mono - head.mono - 0.2 * (tick.n + 1) for tick in ticks]
    # Each tick is late by its own waking up, never by the sum of those before it.
    assert min(drift) > -0.002
    assert sorted(drift)[len(drift) // 2] < 0.1
    for tick in ticks:
        assert tick.wall - head.wall == pytest.approx(tick.mono - head.mono, abs=0.05)


def test_a_stopped_sidecar_counts_what_it_missed(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out)
    before = wait_for_ticks(process, out, 2)[-1].n
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.65)
    process.send_signal(signal.SIGCONT)
    ticks = wait_for_ticks(process, out, before + 4)
    end(process)
    (foot,) = of_kind(out, End)
    numbers = [tick.n for tick in ticks]
    assert numbers == sorted(set(numbers))
    assert foot.missed >= 4
    assert foot.missed == numbers[-1] + 1 - len(numbers) or foot.ticks > len(ticks)


def test_a_requeued_job_appends_and_mends_the_torn_line(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    first = start_sidecar(out)
    wait_for_ticks(first, out, 3)
    first.kill()
    first.communicate()
    kept = len(of_kind(out, Start)), len(wait_ticks(out))
    assert kept[0] == 1
    assert of_kind(out, End) == []
    with (out / "n1.samples.jsonl").open("a") as file:
        file.write('{"kind":"tick","n":99,"wal')
    second = start_sidecar(out)
    wait_for_ticks(second, out, 3, starts=2)
    end(second)
    assert len(of_kind(out, Start)) == 2
    assert len(of_kind(out, End)) == 1
    assert len([line for line in wait_ticks(out) if line.endswith("}")]) >= kept[1] + 3
    reader = VmstatReader(table(out, "vmstat"))
    assert len(list(reader)) >= kept[1] + 3
    assert reader.skipped == 0


def test_nothing_is_lost_when_killed(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out)
    begin = time.monotonic()
    wait_for_ticks(process, out, 1)
    time.sleep(0.6)
    process.kill()
    process.communicate()
    lived = time.monotonic() - begin
    text = (out / "n1.samples.jsonl").read_text()
    assert text.endswith("\n")
    assert 5 <= len(wait_ticks(out)) <= lived / 0.1 + 1


@pytest.mark.parametrize("reaped", [True, False])
def test_ends_with_the_process_it_watches(tmp_path: Path, reaped: bool) -> None:
    out = tmp_path / "metrics"
    with subprocess.Popen(["sleep", "60"]) as watched:
        process = start_sidecar(out, "--parent", str(watched.pid))
        wait_for_ticks(process, out, 2)
        assert process.poll() is None
        watched.kill()
        if reaped:
            watched.wait()
        process.communicate(timeout=5)
    assert process.returncode == 0
    (foot,) = of_kind(out, End)
    assert "process has ended" in foot.reason


def test_ends_at_once_when_the_process_is_gone_already(tmp_path: Path) -> None:
    watched = subprocess.Popen(["true"])
    watched.wait()
    process = start_sidecar(tmp_path / "metrics", "--parent", str(watched.pid))
    process.communicate(timeout=5)
    assert process.returncode == 0


def test_the_warning_signal_of_slurm_does_not_end_it(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out)
    count = len(wait_for_ticks(process, out, 2))
    process.send_signal(signal.SIGUSR1)
    wait_for_ticks(process, out, count + 2)
    end(process)


def test_a_folder_that_cannot_be_is_one_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start_sidecar(tmp_path / "file")
    _, talk = process.communicate(timeout=10)
    assert process.returncode == 1
    assert talk.count("\n") == 1
    assert "cannot record into" in talk


def test_a_full_disk_is_counted_and_survived(tmp_path: Path) -> None:
    """A limit on file sizes makes the kernel refuse what goes beyond, as a full disk does."""
    out = tmp_path / "metrics"
    process = start_sidecar(out)
    whole = len(wait_for_ticks(process, out, 3))
    limit = (out / "n1.samples.jsonl").stat().st_size + 100
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    time.sleep(0.5)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    ticks = wait_for_ticks(process, out, whole + 3)
    end(process)
    (foot,) = of_kind(out, End)
    assert foot.lost_writes >= 3
    assert ticks[-1].n + 1 - len(ticks) == pytest.approx(foot.lost_writes, abs=1)


@pytest.mark.parametrize("arguments", [["--node", "a/b"], ["--interval", "0"], ["--interval", "x"]])
def test_refuses_what_cannot_be(tmp_path: Path, arguments: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "monitors.recorder",
        "--out",
        str(tmp_path / "m"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(shutil.which("vmstat") is None, reason="needs procps")
def test_vmstat_beside_the_real_one(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    zone = "ABC-3:30"
    process = start_sidecar(out, "--interval", "1", TZ=zone)
    real = subprocess.run(
        ["vmstat", "-t", "1", "2", "-y"],
        env={**os.environ, "TZ": zone, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines(keepends=True)
    wait_for_ticks(process, out, 2)
    end(process)
    mine = table(out, "vmstat")
    if " gu" in real[1]:
        pytest.skip("this procps has the newer layout")
    assert mine[:2] == real[:2]
    theirs, ours = list(VmstatReader(real)), list(VmstatReader(mine))
    assert len(theirs) == 2
    assert list(ours[0].values) == list(theirs[0].values)
    assert ours[0].zone == theirs[0].zone == "ABC"
    assert ours[0].when is not None
    assert theirs[0].when is not None
    assert abs((ours[0].when - theirs[0].when).total_seconds()) <= 5
    # The same machine in the same seconds: memory in the same unit, shares of the same whole.
    assert ours[-1].values["free"] == pytest.approx(theirs[-1].values["free"], rel=0.2)
    assert ours[-1].values["cache"] == pytest.approx(theirs[-1].values["cache"], rel=0.5)
    for row in ours:
        assert 97 <= sum(row.values[name] for name in ("us", "sy", "id", "wa", "st")) <= 103


def test_it_ends_when_another_attempt_has_the_folder(tmp_path: Path) -> None:
    """A node that was cut off from Slurm may live on: nobody else ends its sidecar."""
    fence = tmp_path / "start"
    fence.write_text("8.0\n")
    out = tmp_path / "metrics"
    process = start_sidecar(out, "--fence", str(fence), "8.0")
    count = len(wait_for_ticks(process, out, 2))
    fence.unlink()  # what cannot be read for a moment is no reason to end
    wait_for_ticks(process, out, count + 3)
    assert process.poll() is None
    fence.write_text("8.1\n")
    process.communicate(timeout=5)
    assert process.returncode == 0
    (foot,) = of_kind(out, End)
    assert foot.reason == "another attempt records here"
