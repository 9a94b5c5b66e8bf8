"""Which cluster this is, without asking a controller; and what a trial that fails says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.slurm import batch
from hpclaunch.slurm.commands import cluster_name


@pytest.mark.parametrize(
    "line",
    ["ClusterName=baskerville", "clustername = baskerville # ours", "  ClusterName=baskerville"],
)
def test_the_name_is_read_from_the_file(tmp_path: Path, line: str) -> None:
    conf = tmp_path / "commands.conf"
    conf.write_text(f"# ClusterName=old\nSlurmctldHost=a\n{line}\n")
    assert cluster_name({"SLURM_CONF": str(conf)}) == "baskerville"


def test_the_variable_wins() -> None:
    assert cluster_name({"SLURM_CLUSTER_NAME": "mine", "SLURM_CONF": "/nonexistent"}) == "mine"


@pytest.mark.parametrize(
    ("said", "verdict", "told"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
         "failure)", "not tried", "Slurm's controller does not answer"),
        ("sbatch: error: fetch_config: DNS SRV lookup failed\n"
         "sbatch: fatal: Could not establish a configuration source", "not tried", "not answer"),
        ("allocation failure: Invalid qos specification", "refused", "could not start now: alloc"),
        ("sbatch: error: you must give a project with --account\n"
         "allocation failure: Unspecified error", "refused", "give a project with --account"),
        ("allocation failure: Nodes required for job are DOWN, DRAINED or reserved for jobs in "
         "higher priority partitions", "waits", "could not start now: allocation failure: Nodes"),
        ("allocation failure: Requested nodes are busy", "waits", "nodes are busy"),
    ],
)  # fmt: skip
def test_what_a_trial_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, verdict: str, told: str
) -> None:
    (tmp_path / "said").write_text(said)
    command = tmp_path / "sbatch"
    command.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/said >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    trial = batch.test_only("#!/bin/sh\n", tmp_path)
    assert trial.verdict == verdict
    assert told in trial.message
