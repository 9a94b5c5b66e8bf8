"""Which cluster this is, without asking a controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.cluster.slurm import cluster_name


@pytest.mark.parametrize(
    "line",
    ["ClusterName=baskerville", "clustername = baskerville # ours", "  ClusterName=baskerville"],
)
def test_the_name_is_read_from_the_file(tmp_path: Path, line: str) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"# ClusterName=old\nSlurmctldHost=a\n{line}\n")
    assert cluster_name({"SLURM_CONF": str(conf)}) == "baskerville"


def test_the_variable_wins() -> None:
    assert cluster_name({"SLURM_CLUSTER_NAME": "mine", "SLURM_CONF": "/nonexistent"}) == "mine"
