"""Faults made for real: processes kept off their cores by a cgroup, and a slow data loader."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitors.analysis.analysis import JobContext, analyse_folder
from tests.monitors.running import ROOT, end, environment

SECONDS = 6
QUOTA_US, PERIOD_US = 8_000, 100_000
"""A twelfth of a core."""
CPU = Path("/sys/fs/cgroup/cpu")

IN_GROUP = "echo $$ > {group}/cgroup.procs && exec {python} -m monitors.recorder {flags}"
BUSY = "echo $$ > {group}/cgroup.procs; renice -n -10 $$ > /dev/null; while :; do :; done"
"""Ahead of whatever else the machine does: what holds it back is its own group's limit alone."""


@contextlib.contextmanager
def job_group(name: str) -> Iterator[Path]:
    """A cgroup as Slurm makes one for a job; skips where this machine allows none."""
    group = CPU / name
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
        (group / "cpu.cfs_quota_us").write_text("-1")
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no cgroup of version 1 can be made here: {error}")
    try:
        yield group
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # its last process may still be on its way out
                group.rmdir()
            time.sleep(0.05)


def work(group: Path, out: Path, node: str) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """A busy process and the sidecar beside it, both in the job's group."""
    flags = f"--out {out} --node {node} --interval 0.2"
    sidecar = IN_GROUP.format(group=group, python=sys.executable, flags=flags)
    env = environment(None, {})
    started = [
        subprocess.Popen(["bash", "-c", line], env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for line in (BUSY.format(group=group), sidecar)
    ]
    return started[0], started[1]


def test_the_node_with_the_small_cpu_limit_is_named(tmp_path: Path) -> None:
    tag = f"{os.getpid()}"
    with (
        job_group(f"job_{tag}1") as free,
        job_group(f"job_{tag}2") as small,
    ):
        jobs = [work(free, tmp_path, "n1"), work(small, tmp_path, "n2")]
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.samples.jsonl"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        (small / "cpu.cfs_quota_us").write_text(str(QUOTA_US))  # with both sidecars at work
        time.sleep(SECONDS)
        (small / "cpu.cfs_quota_us").write_text("-1")
        for busy, sidecar in jobs:
            busy.kill()
            busy.communicate()
            end(sidecar)
    found = analyse_folder(tmp_path)
    assert found.verdict.startswith("n2 held the job back: its processes were kept off their cores")
    assert [finding.key for finding in found.findings] == ["slow-peer"]
    lost = found.findings[0].lost_share
    assert lost is not None
    assert 0.3 <= lost <= 1, "nearly all of the time, less what the machine could not give"


SLOW = """
import runpy, sys, time
from torch.utils.data import dataloader

fetch = dataloader._BaseDataLoaderIter.__next__

def slowly(self):
    time.sleep({pause})
    return fetch(self)

dataloader._BaseDataLoaderIter.__next__ = slowly
runpy.run_module("hpclaunch.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.train
@pytest.mark.parametrize(("pause", "key"), [(0.4, "data"), (0.0, None)])
def test_a_slow_data_loader_is_the_verdict(tmp_path: Path, pause: float, key: str | None) -> None:
    from hpclaunch.diagnose.changes import changes
    from hpclaunch.run.events import read_events
    from tests.run.making import record
    from tests.train.running import launch, make_run

    folder = make_run(tmp_path / "run", ["training.max_steps=12", "checkpoints.every_steps=0"])
    program = tmp_path / "slow.py"
    program.write_text(SLOW.format(pause=pause))
    flags = ["--out", str(folder.metrics), "--node", "n1", "--interval", "0.2"]
    with subprocess.Popen(
        [sys.executable, "-m", "monitors.recorder", *flags],
        env=environment(None, {}),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as sidecar:
        outcome = launch(folder, 1, program=(str(program),), PYTHONPATH=str(ROOT))
        end(sidecar)
    assert outcome.code == 0, outcome.said
    context = JobContext(events=tuple(read_events(folder.events)), fixes=changes(folder, record()))
    found = analyse_folder(folder.metrics, context)
    keys = [finding.key for finding in found.findings]
    assert (keys[:1] == ["data"]) == (key == "data"), found.verdict
    if key:
        assert found.verdict.startswith("The training waited for data ")
        assert "dataloader_num_workers=" in found.findings[0].fix
