"""The throwaway cluster itself: what the other tests take for granted."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings

pytestmark = pytest.mark.slurm

FOUR_BY_FOUR = """#!/bin/bash
#SBATCH --nodes=4
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=1
#SBATCH --constraint=a100_40
#SBATCH --mem=480000
srun bash -c 'echo "$SLURM_NODEID $SLURMD_NODENAME $(hostname) $CUDA_VISIBLE_DEVICES"'
getent hosts node1
"""


def submit(cluster: ThrowawayCluster, script: str, output: Path, *options: str) -> str:
    answer = cluster.run("sbatch", "--parsable", f"--output={output}", *options, input=script)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def processes_of(folders: Sequence[Path]) -> set[str]:
    """Daemons and job processes of these clusters, by what their command line or variables name.

    Other workers of the suite have clusters of their own.
    """
    found = set()
    names = [str(folder).encode() for folder in folders]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if any(name in words for name in names):
                found.add(process.name)
    return found


def test_all_nodes_are_idle(slurm: ThrowawayCluster) -> None:
    slurm.wait_until_idle()  # other tests' jobs may still be cleared up
    answer = slurm.run("sinfo", "-N", "-h", "-o", "%N %T %c %m %f %G")
    assert answer.stdout.splitlines() == [
        f"node{number} idle 8 500000 a100_40 gpu:a100_40:4" for number in range(1, 5)
    ]


def test_four_nodes_of_four_gpus(slurm: ThrowawayCluster, tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = submit(slurm, FOUR_BY_FOUR, output)
    assert slurm.wait(job) == ("COMPLETED", 0, 0)
    *tasks, head = output.read_text().splitlines()
    assert sorted(tasks) == [f"{i} node{i + 1} node{i + 1} 0,1,2,3" for i in range(4)]
    assert head.split() == [slurm.place.address(1), "node1"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--time=2:00:00", "time limit"),
        ("--nodes=5", "Node count"),
        ("--constraint=h100", "feature"),
    ],
)
def test_limits_are_refused_before_submission(
    slurm: ThrowawayCluster, option: str, words: str
) -> None:
    answer = slurm.run("sbatch", "--test-only", option, input="#!/bin/bash\ntrue\n")
    assert answer.returncode == 1
    assert words in answer.stderr, answer.stderr


def test_a_failing_jobs_exit_code(slurm: ThrowawayCluster, tmp_path: Path) -> None:
    job = submit(slurm, "#!/bin/bash\nexit 7\n", tmp_path / "out")
    assert slurm.wait(job) == ("FAILED", 7, 0)


def test_cancel(slurm: ThrowawayCluster, tmp_path: Path) -> None:
    job = submit(slurm, "#!/bin/bash\nsleep 60\n", tmp_path / "out")
    assert slurm.run("scancel", job).returncode == 0
    assert slurm.wait(job).state == "CANCELLED"


def test_salloc_runs_a_command(slurm: ThrowawayCluster) -> None:
    answer = slurm.run("salloc", "--nodes=2", "srun", "bash", "-c", "hostname; exit 3")
    assert answer.returncode == 3
    assert sorted(answer.stdout.split()) == ["node1", "node2"]


def test_two_clusters_and_nothing_left_behind(tmp_path: Path) -> None:
    need_slurm()
    with ThrowawayCluster(Settings(nodes=1)) as one, ThrowawayCluster(Settings(nodes=1)) as two:
        for cluster in (one, two):
            submit(cluster, "#!/bin/bash\nsetsid sleep 77 & sleep 78\n", tmp_path / "out")
            waiting = subprocess.Popen(["salloc", "--nodes=1"], env=cluster.env)
        folders = [one.place.folder, two.place.folder]
        assert folders[0] != folders[1]
        assert len(processes_of(folders)) > 6
    assert waiting.wait(5) != 0
    assert processes_of(folders) == set()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_by_hand_and_the_starters_death(ending: signal.Signals) -> None:
    need_slurm()
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.slurm.cluster", "--nodes", "1"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    conf = re.fullmatch(r"export SLURM_CONF=(\S+)\n", starter.stdout.readline())
    assert conf is not None
    starter.send_signal(ending)
    starter.wait(10)
    deadline = time.monotonic() + 5
    folder = Path(conf[1]).parent
    while processes_of([folder]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of([folder]) == set()
    if ending == signal.SIGINT:
        assert not Path(conf[1]).exists()
