"""`hpclaunch monitor` under srun: every node is recorded once, and Slurm sees the program's end."""

from __future__ import annotations

import pytest

from monitors.records import End
from monitors.storage.filenames import nodes_in
from monitors.storage.store import NodeStore
from tests.slurm.user import User

pytestmark = pytest.mark.slurm

TWO_BY_TWO = ["srun", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2"]


def test_every_node_is_recorded_once(user: User) -> None:
    words = user.argv("monitor", "--out", "rec", "--interval", "0.2", "--")
    done = user.run(*TWO_BY_TWO, *words, "bash", "-c", "sleep 3; echo $SLURM_PROCID; exit 0")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3"]
    assert nodes_in(user.folder / "rec") == ("node1", "node2")
    for node in ("node1", "node2"):
        records = list(NodeStore(user.folder / "rec", node).records())
        assert isinstance(records[-1], End), records[-1]
    assert "2 nodes, " in user.hpclaunch("report", "rec").stdout


def test_slurm_sees_the_exit_code(user: User) -> None:
    words = user.argv("monitor", "--out", "rec", "--")
    done = user.run("srun", *words, "bash", "-c", "sleep 2; exit 9")
    assert done.returncode == 9, done.stderr
