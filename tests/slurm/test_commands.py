"""Which cluster this is, without asking a controller; and what a trial that fails says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.slurm import commands
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
    ("said", "told"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
         "failure)", "its controller does not answer"),
        ("sbatch: error: fetch_config: DNS SRV lookup failed\n"
         "sbatch: fatal: Could not establish a configuration source", "does not answer"),
        ("allocation failure: Invalid qos specification", "could not start now: allocation fail"),
    ],
)  # fmt: skip
def test_a_trial_without_an_answer_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    (tmp_path / "said").write_text(said)
    command = tmp_path / "sbatch"
    command.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/said >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told in commands.test_only("#!/bin/sh\n", tmp_path)
