"""The sidecar as a step of a Slurm job: it ends in order with the step, and says so."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from monitors.analysis.analysis import build
from monitors.records import End, Record, Start
from monitors.storage import filenames
from monitors.storage.formats.json_lines import SamplesReader
from tests.monitors.running import ROOT
from tests.slurm.cluster import ThrowawayCluster

pytestmark = pytest.mark.slurm

HEAD = f"""#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=2 --gpus-per-node=4
export PYTHONPATH={ROOT}
srun --overlap --ntasks-per-node=1 --ntasks=2 --output="$OUT/step.%N" \\
    {sys.executable} -m monitors.recorder --out "$OUT" --interval 0.1 &
sidecar=$!
waited=0
until [ "$(grep -ls kind.:.tick "$OUT"/*.jsonl | wc -l)" = 2 ] || [ $((waited++)) = 100 ]; do
    sleep 0.1
done
srun --overlap sleep 0.5
"""
# USR2, which srun passes on: at a TERM it kills its tasks.
IN_ORDER = 'kill -USR2 $sidecar\nwait $sidecar\necho $? >"$OUT/code"\n'


def records_of(folder: Path, node: str) -> list[Record]:
    path = filenames.path_of(folder, node, filenames.SAMPLES)
    return list(SamplesReader(path.read_text().splitlines(keepends=True)))


def submit(cluster: ThrowawayCluster, folder: Path, script: str) -> str:
    answer = cluster.run(
        *("sbatch", "--parsable", f"--output={folder}/job", f"--export=ALL,OUT={folder}"),
        input=script,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


@pytest.mark.parametrize("how", ["job script", "scancel"])
def test_a_step_ends_in_order_on_every_node(
    slurm: ThrowawayCluster,
    tmp_path: Path,
    how: str,
) -> None:
    out = tmp_path / "metrics"
    out.mkdir()
    if how == "job script":
        job = submit(slurm, out, HEAD + IN_ORDER)
    else:
        job = submit(slurm, out, HEAD + "touch $OUT/ready\nsleep 60\n")
        deadline = time.monotonic() + 30
        while not (out / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        slurm.run("scancel", job)
    state = slurm.wait(job)
    said = {path.name: path.read_text() for path in out.glob("[!n]*")}
    if how == "scancel":
        assert state.state == "CANCELLED"
    else:
        assert state == ("COMPLETED", 0, 0), said
        assert said["code"] == "0\n"
    deadline = time.monotonic() + 10  # a cancelled job is over before its processes are
    while time.monotonic() < deadline:
        report = build(out)
        if report.nodes and all(node.end_reason for node in report.nodes):
            break
        time.sleep(0.1)
    reason = "SIGTERM" if how == "scancel" else "SIGUSR2"
    assert [node.end_reason for node in report.nodes] == [reason] * 2, said
    for node in report.nodes:
        first, *_, last = records_of(out, node.node)
        assert isinstance(first, Start)
        assert isinstance(last, End)
        assert first.node == node.node  # Slurm's name of the node, not the machine's
        assert node.samples >= 3
    steps = [path.read_text() for path in out.glob("step.*")]
    assert len(steps) == 2
    assert not any("Traceback" in text or "sidecar" in text for text in steps)
