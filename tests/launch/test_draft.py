"""From a request to a job, with the cluster's own answers taken from the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.render.job import Job
from hpclaunch.slurm import commands, discover
from hpclaunch.slurm.discover import parse_types

SINFO = "gpu|64|a100|gpu:a100:2\nhopper|192|h100|gpu:h100:8\n"


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "available", lambda: True)
    monkeypatch.setattr(discover, "node_types", lambda: parse_types(SINFO))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def job(variables: dict[str, str] | None = None, site: str = "generic", **asked: Any) -> Job:
    return draft(Request(site=site, resources=Resources(**asked)), variables or {})


def options(made: Job) -> dict[str, str | None]:
    return {option.flag: option.value for option in made.plan.options}


@pytest.mark.parametrize("by", ["option", "variable", "profile"])
def test_the_partition_says_which_nodes_count(tmp_path: Path, by: str) -> None:
    (tmp_path / "config/hpclaunch/sites").mkdir(parents=True)
    profile = tmp_path / "config/hpclaunch/sites/mine.yaml"
    profile.write_text("extends: generic\npartition: hopper\n")
    asked: dict[str, Any] = {"gpus": 8}
    if by == "option":
        asked["partition"] = "hopper"
    variables = {"SBATCH_PARTITION": "hopper"} if by == "variable" else {}
    made = options(job(variables, "mine" if by == "profile" else "generic", **asked))
    assert (made["--mem"], made["--cpus-per-task"]) == ("0", "192")
    assert made["--partition"] == "hopper"


def test_a_part_of_a_node_gets_its_share() -> None:
    made = options(job(gpus=2, partition="hopper"))
    assert "--mem" not in made
    assert made["--cpus-per-task"] == "48"


def test_nodes_that_differ_are_not_guessed_at() -> None:
    made = options(job(gpus=2))
    assert "--mem" not in made
    assert made["--cpus-per-task"] == "8"
    assert options(job(gpus=8))["--gpus-per-node"] == "8"
    with pytest.raises(UserError, match=r"--gpus 9: a node of this cluster has 8"):
        job(gpus=9)
    with pytest.raises(UserError, match=r"--gpus 4: a node of partition gpu has 2"):
        job(gpus=4, partition="gpu")


@pytest.mark.parametrize(
    ("asked", "cores"),
    [
        ({"cpu_processes": 2}, "8"),
        ({"cpu_processes": 32}, "64"),
        ({"cpu_processes": 32, "partition": "hopper"}, "128"),
        ({"cpu_processes": 2, "cpus": 5}, "5"),
    ],
)
def test_cpu_processes_ask_for_no_more_cores_than_a_node_has(
    asked: dict[str, Any], cores: str
) -> None:
    assert options(job(**asked))["--cpus-per-task"] == cores
