"""Every fault in its turn, done to one training of four nodes; `make verdicts` runs them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from monitors.analysis.analysis import Analysis
from monitors.report.text import render_text
from tests.slurm import harm
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.confine import Groups
from tests.slurm.table import Verdicts
from tests.slurm.user import User
from tests.slurm.verdicts.training import Training, besides_queues, between

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.faults]

SECONDS = 14
Fault = contextlib.AbstractContextManager[object]
Judge = Callable[[str, Fault], Analysis]


@pytest.fixture(scope="module")
def training(
    four: ThrowawayCluster, groups: Groups, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Training]:
    four.wait_until_idle()
    with Training(User(four, tmp_path_factory.mktemp("verdicts"))).under_way() as found:
        yield found


@pytest.fixture
def judge(training: Training, verdicts: Verdicts) -> Judge:
    def analyse(name: str, fault: Fault) -> Analysis:
        found = training.during(name, fault, SECONDS)
        verdicts.add(name, found)
        return found

    return analyse


@pytest.mark.parametrize("turn", range(3))
def test_nothing(judge: Judge, turn: int) -> None:
    found = judge("nothing", contextlib.nullcontext())
    assert besides_queues(found) == []


@pytest.mark.parametrize("node", ["node1", "node4"])
def test_a_lower_cpu_limit_on_one_node(judge: Judge, groups: Groups, node: str) -> None:
    limits = between(lambda: groups.limit_cpu(node, 0.1), lambda: groups.limit_cpu(node, None))
    found = judge(f"{node} held to a tenth of a core", limits)
    assert found.verdict.startswith(f"{node} held the job back: "), found.findings


@contextlib.contextmanager
def rivals(groups: Groups, node: str) -> Iterator[None]:
    """Let other programs take the cores of a node: of what it gets, six parts of seven."""
    procs = groups.folder("cpu", node) / "cgroup.procs"
    loop = f"echo $$ > {procs}; while :; do :; done"
    busy = [subprocess.Popen(["sh", "-c", loop]) for _ in range(6)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_other_programs_on_the_cores_of_one_node(judge: Judge, groups: Groups) -> None:
    found = judge("six busy loops on node2", rivals(groups, "node2"))
    assert found.verdict.startswith("node2 held the job back: "), found.findings
    assert "takes its cores" in found.findings[0].cause


def on_links(cluster: ThrowawayCluster, nodes: Sequence[str], do: Callable[[str], None]) -> Fault:
    def each(what: Callable[[str], None]) -> None:
        for node in nodes:
            what(node)

    return between(
        lambda: each(do),
        lambda: each(lambda node: harm.fast_link(cluster, node)),
    )


def slow_links(cluster: ThrowawayCluster, *nodes: str) -> Fault:
    return on_links(cluster, nodes, lambda node: harm.slow_link(cluster, node, "40mbit"))


def test_a_slow_link_of_one_node(judge: Judge, four: ThrowawayCluster) -> None:
    found = judge("node2's link held to 40 Mbit/s", slow_links(four, "node2"))
    assert found.verdict.startswith("The ranks waited for the network "), found.findings


def test_slow_links_of_all_nodes(judge: Judge, four: ThrowawayCluster) -> None:
    nodes = four.settings.node_names
    found = judge("all links held to 40 Mbit/s", slow_links(four, *nodes))
    assert found.verdict.startswith("The ranks waited for the network "), found.findings


def set_to(training: Training, name: str, value: str) -> Fault:
    path = training.folder / name
    return between(lambda: path.write_text(value), path.unlink)


def test_late_data(judge: Judge, training: Training) -> None:
    found = judge("1.5 s to make each batch", set_to(training, "late-data", "1.5"))
    assert found.verdict.startswith("The training waited for data "), found.findings


def test_long_checkpoints(judge: Judge, training: Training) -> None:
    found = judge("a checkpoint of 3 s every second step", set_to(training, "saving", "3"))
    assert found.verdict.startswith("Checkpoints took "), found.findings
    assert besides_queues(found) == ["checkpoints"]


def test_a_sampler_killed(training: Training, verdicts: Verdicts, judge: Judge) -> None:
    victims = [pid for pid in harm.sidecars(training.folder) if harm.node_of(pid) == "node4"]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert victims
    time.sleep(5)
    found = judge("SIGKILL to node4's sidecar", contextlib.nullcontext())
    assert besides_queues(found) == []
    (node,) = [node for node in found.report.nodes if node.node == "node4"]
    text = render_text(found.report)
    assert "no end: killed" in text
    assert any("no samples in the last" in problem for problem in node.problems), node.problems
    assert found.timeline is not None
    (line,) = [line for line in found.timeline.nodes if line.node == "node4"]
    assert np.isnan(line.bands["cpu_busy_pct"].mean[-3:]).all(), "unknown, not 0"


def test_memory_that_is_all_but_used_up(judge: Judge, groups: Groups) -> None:
    """From here on: what memory came to at its highest is told of the whole run."""
    used = groups.memory_used("node3")
    tight = between(
        lambda: groups.limit_memory("node3", int(1.04 * used)),
        lambda: groups.limit_memory("node3", None),
    )
    found = judge("node3's memory limit 4% above what it uses", tight)
    assert found.verdict == "node3 came close to running out of memory.", found.findings


HOG = "x = bytearray(2 << 30); x[::4096] = b'x' * len(x[::4096])"


def test_a_process_killed_for_memory(judge: Judge, groups: Groups) -> None:
    """The kernel takes the largest, which is not the rank."""
    procs = groups.folder("memory", "node1") / "cgroup.procs"
    limit = groups.memory_used("node1") + (1 << 30)

    def hog() -> None:
        groups.limit_memory("node1", limit)
        words = ["sh", "-c", f'echo $$ > {procs}; exec {sys.executable} -c "{HOG}"']
        assert subprocess.run(words, check=False).returncode == -signal.SIGKILL

    found = judge(
        "a process on node1 takes more than the limit",
        between(hog, lambda: groups.limit_memory("node1", None)),
    )
    assert found.verdict == "node1 ran out of memory.", found.findings
    (node,) = [node for node in found.report.nodes if node.node == "node1"]
    assert any("the kernel killed a process of the job for memory" in n for n in node.notes)
