"""From a request to a job, with the cluster's own answers taken from the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.cli.prediction import prediction
from hpclaunch.errors import UserError
from hpclaunch.launch.check import check
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.plan.slurm_options import Option
from hpclaunch.render.job import Job
from hpclaunch.slurm import commands, nodes
from hpclaunch.slurm.nodes import Sinfo, parse_types

SINFO = "gpu|64|a100|gpu:a100:2\nhopper|192|h100|gpu:h100:8\n"


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "available", lambda: True)
    listed(monkeypatch, SINFO)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def listed(monkeypatch: pytest.MonkeyPatch, rows: str, problem: str = "") -> None:
    """Have sinfo list these rows."""
    answer = Sinfo(tuple(parse_types(rows)), problem)
    monkeypatch.setattr(nodes, "sinfo", lambda _partition: answer)


def job(variables: dict[str, str] | None = None, site: str = "generic", **asked: Any) -> Job:
    return draft(Request(recipe="tiny", site=site, resources=Resources(**asked)), variables or {})


def options(made: Job) -> dict[str, str | None]:
    return {option.flag: option.value for option in made.plan.options}


@pytest.mark.parametrize("by", ["option", "variable", "profile"])
def test_the_partition_says_which_nodes_count(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config/hpclaunch/sites").mkdir(parents=True)
    profile = tmp_path / "config/hpclaunch/sites/mine.yaml"
    profile.write_text("extends: generic\npartition: hopper\n")
    asked: dict[str, Any] = {"gpus": 8}
    if by == "option":
        asked["partition"] = "hopper"
    variables = {"SBATCH_PARTITION": "hopper"} if by == "variable" else {}
    named = []

    def hidden(partition: str | None) -> Sinfo:  # such a partition is listed where it is named
        named.append(partition)
        return Sinfo(tuple(parse_types(SINFO)))

    monkeypatch.setattr(nodes, "sinfo", hidden)
    made = options(job(variables, "mine" if by == "profile" else "generic", **asked))
    assert named == ["hopper"]
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


ALIKE = "gpu*|64|a100_40|gpu:4|512000|4|1-00:00:00\n"


def notes(made: Job) -> str:
    return "; ".join(note.evidence for note in made.plan.notes)


def test_a_part_of_a_nodes_gpus_asks_for_its_part_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cluster's default may be a little for each core (DefMemPerCPU): a 70B would not load."""
    listed(monkeypatch, ALIKE)
    assert options(job(gpus=2, gpu="a100_40"))["--mem"] == "250G"
    assert options(job(gpus=4, gpu="a100_40"))["--mem"] == "0"
    assert options(job(gpus=2, mem="7G"))["--mem"] == "7G"
    listed(monkeypatch, "gpu*|64|a100_40|gpu:4|1|4|infinite\n")  # as where nobody configured it
    assert "--mem" not in options(job(gpus=2))


def test_offloaded_shards_ask_for_the_memory_that_they_are_predicted_to_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than the GPUs' share, where a node has it; a user's own figure stays."""
    words = Request(
        mode="sbatch", site="generic", recipe="llama3-8b-full", overrides=("fsdp.offload=true",)
    )
    wanted = Resources(gpus=2, gpu="a100_80")

    def mem(node_mib: int, **more: Any) -> Option:
        listed(monkeypatch, f"gpu*|64|a100_80|gpu:8|{node_mib}|4|1-00:00:00\n")
        made = draft(replace(words, resources=replace(wanted, **more)), {})
        return next(each for each in made.plan.options if each.flag == "--mem")

    listed(monkeypatch, "gpu*|64|a100_80|gpu:8|512000|4|1-00:00:00\n")
    need = draft(replace(words, resources=wanted), {}).plan.launch.host_memory_mib
    assert need is not None and need > 100_000
    assert (mem(8 * need).value, mem(8 * need).why) == (f"{2 * need // 1024}G", "per node")
    raised = mem(2 * need)
    assert raised.value == f"{int(need * 1.25)}" and raised.why.startswith(
        "per node: the predicted"
    )
    assert mem(need + 1024).value in {f"{need + 1024}", f"{(need + 1024) // 1024}G"}
    assert mem(2 * need, mem="7G").value == "7G"
    assert mem(need // 2).why == "per node", "the nodes do not have it: the plan is refused"


def test_a_profile_that_names_gpus_only_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(monkeypatch, ALIKE + "gpu*|32|a100_80|gpu:4|256000|4|1-00:00:00\n")
    without = options(job(gpus=4, gpu="a100_40"))
    (tmp_path / "config/hpclaunch/sites").mkdir(parents=True)
    profile = tmp_path / "config/hpclaunch/sites/mine.yaml"
    profile.write_text(
        "extends: generic\naccount: me\ngpus: {a100_40: {constraint: a100_40, per_node: 4}}\n"
    )
    found = options(job(site="mine", gpus=4, gpu="a100_40"))
    assert found == {**without, "--account": "me"}
    assert (found["--cpus-per-task"], found["--mem"]) == ("64", "0")


@pytest.mark.parametrize("site", ["generic", "profile"])
def test_a_sinfo_that_fails_is_not_a_cluster_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    (tmp_path / "config/hpclaunch/sites").mkdir(parents=True)
    profile = tmp_path / "config/hpclaunch/sites/profile.yaml"
    profile.write_text("extends: generic\ngpus: {a100_40: {constraint: a100_40}}\n")
    listed(monkeypatch, "", "Socket timed out")
    made = job(site=site, gpus=4, gpu="a100_40")
    assert notes(made).count("sinfo failed twice: Socket timed out") == 1
    assert "there is no Slurm here" not in notes(made)
    if site == "generic":
        with pytest.raises(UserError, match=r"GPUs is unknown: sinfo failed .*; try again, or"):
            check(made)


def test_the_partition_with_the_gpus_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, "cpu*|64|(null)|(null)|1000|9|1:00:00\n" + ALIKE.replace("*", ""))
    made = job(gpus=4, gpu="a100_40")
    assert options(made)["--partition"] == "gpu"
    assert "the default partition has no such GPUs: the job goes to gpu" in notes(made)
    assert "--partition" not in options(job(cpu_processes=1))
    listed(monkeypatch, ALIKE + ALIKE.replace("gpu*", "long").replace("a100", "h100"))
    assert "--partition" not in options(job(gpus=4, gpu="a100_40"))
    assert options(job(gpus=4, gpu="h100_40"))["--partition"] == "long"


def test_of_several_partitions_with_the_gpus_one_must_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = ALIKE.replace("*", "")
    listed(monkeypatch, "cpu*|64|(null)|(null)|1000|9|1:00:00\n" + gpu + gpu.replace("gpu|", "g2|"))
    message = r"default partition cpu has no GPU type a100_40; name one .*: --partition g2 or gpu"
    with pytest.raises(UserError, match=message):
        job(gpus=4, gpu="a100_40")


def test_a_partition_without_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, "cpu|64|(null)|(null)|1000|9|1:00:00\n")
    with pytest.raises(UserError, match="no node of partition cpu has GPUs"):
        job(gpus=4, partition="cpu")


def test_different_gpus_in_one_partition_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ALIKE + "gpu*|192|h100|gpu:4|1024000|2|1-00:00:00\n"
    listed(monkeypatch, both)
    assert "different GPUs (a100_40, h100), and several kinds at once" in notes(job(gpus=4))
    assert "different" not in notes(job(gpus=4, gpu="h100"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"nodes": 5}, "--nodes 5: the partition has 4 such nodes, so the job would never start"),
        ({"time": "1-01"}, "--time 1-01 is over the partition's limit of 1-00:00:00"),
        ({"nodes": 4, "time": "24:00:00"}, ""),
    ],
)
@pytest.mark.parametrize("what", [{"gpus": 4}, {"cpu_processes": 1}])
def test_what_would_never_start_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], what: dict[str, Any], message: str
) -> None:
    """With Slurm's default of EnforcePartLimits=NO such a job is queued, and waits for ever."""
    listed(monkeypatch, ALIKE)
    found = notes(job(**asked, **what))
    assert message in found
    assert bool(message) == ("would never start" in found)


def test_a_feature_that_stands_for_several_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster knows what `a100` is; for the plan the catalogue asks which one."""
    listed(monkeypatch, ALIKE.replace("|a100_40|", "|a100,a100_40|"))
    request = Request(
        recipe="llama3-8b-lora", site="generic", resources=Resources(gpus=4, gpu="a100")
    )
    made = draft(request, {})
    assert options(made)["--constraint"] == "a100"
    line = prediction(made, force=False)
    assert line is not None
    assert "which one? It comes as a100_40 and a100_80" in line


def test_a_test_run_trains_two_steps_and_does_not_requeue() -> None:
    request = Request(
        recipe="tiny", site="generic", resources=Resources(cpu_processes=1), test_run=True
    )
    job = draft(request)
    assert job.plan.recipe.training["max_steps"] == 2
    assert job.plan.recipe.checkpoints.every_steps == 1
    assert job.plan.launch.name.startswith("tiny-test-")
    assert "#SBATCH --no-requeue" in job.script and "--max-restarts" not in job.script
    with pytest.raises(UserError, match="--test-run is for the built-in trainer"):
        draft(replace(request, program=("true",)))
