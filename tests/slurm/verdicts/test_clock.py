"""A node whose clock is ahead: measured by the training's ranks, said by the report, put right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hpclaunch.run.events import read_events
from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.records import Tick
from monitors.storage.store import NodeStore
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.faults]

AHEAD_S = 47
SOURCE = Path(__file__).with_name("other_clock.c")
WORDS = ["tiny", "training.max_steps=8", "training.logging_steps=1", "training.eval_strategy=no",
         "--nodes", "2", "--cpu-processes", "1", "--cpus", "1", "--wait",
         "--name", "one"]  # fmt: skip


def test_a_node_whose_clock_is_ahead(someone: User, four: ThrowawayCluster) -> None:
    library = someone.folder / "other_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    variables = {"OTHER_CLOCK_NODE": "node2", "OTHER_CLOCK_S": str(AHEAD_S)}
    user = User(four, someone.folder, {**variables, "LD_PRELOAD": str(library)})
    done = user.hpclaunch("sbatch", *WORDS, timeout=400)
    assert done.returncode == 0, done.stderr
    folder = user.folder / "runs/one"
    begins = {node: _first(folder / "metrics", node) for node in ("node1", "node2")}
    assert begins["node2"] - begins["node1"] > AHEAD_S / 2, "the clocks are apart indeed"

    told = json.loads(someone.hpclaunch("report", "one", "--json").stdout)["metrics"]["nodes"]
    first, second = told
    assert abs(first["clock_ahead_s"]) <= first["clock_within_s"] < 1
    assert second["clock_ahead_s"] == pytest.approx(AHEAD_S, abs=second["clock_within_s"] + 0.001)
    text = someone.hpclaunch("report", "one").stdout
    assert "ahead of the first rank's; put right" in text
    found = analyse_folder(
        folder / "metrics", JobContext(events=tuple(read_events(folder / "events.jsonl")))
    )
    assert found.timeline is not None
    begins_s = [
        int(np.isfinite(node.bands["cpu_busy_pct"].mean).argmax()) * found.timeline.step_s
        for node in found.timeline.nodes
    ]
    assert abs(begins_s[0] - begins_s[1]) <= 8, "both sidecars began together"


def _first(metrics: Path, node: str) -> float:
    ticks = (each for each in NodeStore(metrics, node).records() if isinstance(each, Tick))
    return next(ticks).wall
