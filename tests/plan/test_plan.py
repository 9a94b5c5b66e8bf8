"""From words to a plan: what is asked of Slurm, what is refused, what the processes see."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import Resources, check_name
from hpclaunch.site.load import load_site
from hpclaunch.site.schema import GpuRequest, Site
from tests.plan.making import GENERIC, launch, options, plan, recipe

BASKERVILLE = load_site("baskerville")


def test_the_origins_job_asks_for_what_its_authors_asked_for() -> None:
    made = plan(
        site=BASKERVILLE, nodes=4, gpus=4, gpu="a100_40", account="abc", qos="turing", time="3:0:0"
    )
    asked = options(made)
    assert asked["--nodes"] == "4"
    assert asked["--gpus-per-node"] == "4"
    assert asked["--constraint"] == "a100_40"
    assert asked["--mem"] == "480G"
    assert (asked["--account"], asked["--qos"], asked["--time"]) == ("abc", "turing", "3:0:0")
    assert asked["--ntasks-per-node"] == "1"
    assert made.processes == 16


def test_a_site_that_needs_an_account_is_not_asked_without() -> None:
    with pytest.raises(UserError) as caught:
        plan(site=BASKERVILLE, nodes=4, gpus=4, gpu="a100_40")
    assert "needs account and qos" in str(caught.value)
    assert "--account NAME and --qos NAME" in str(caught.value)
    with pytest.raises(UserError, match="needs qos for"):
        plan(site=BASKERVILLE, gpus=4, account="abc")
    own = msgspec.structs.replace(BASKERVILLE, account="abc", qos="turing")
    assert options(plan(site=own, gpus=4, gpu="a100_40"))["--account"] == "abc"
    plan(site=BASKERVILLE, gpus=4, how=launch(mode="local"))  # nobody is asked here


def test_more_gpus_than_a_node_has() -> None:
    with pytest.raises(UserError, match=r"--gpus 8: .* has 4 .*; use --gpus 4 and more --nodes"):
        plan(site=BASKERVILLE, gpus=8, gpu="a100_80", account="a", qos="q")


def test_a_card_without_bfloat16() -> None:
    with pytest.raises(UserError, match=r"V100 16GB has no bfloat16; add model.dtype=float16"):
        plan(gpus=4, gpu="v100_16")
    assert plan(recipe("model.dtype=float16"), gpus=4, gpu="v100_16").layout.precision == "fp16"


@pytest.mark.parametrize(
    ("site", "kind", "expected"),
    [
        (Site(name="s", gpu_option="gres"), None, {"--gres": "gpu:2"}),
        (Site(name="s"), None, {"--gpus-per-node": "2"}),
        (
            Site(name="s", gpus={"h100": GpuRequest(gres_type="hopper", partition="big")}),
            "h100",
            {"--gpus-per-node": "hopper:2", "--partition": "big"},
        ),
        (
            Site(name="s", gpu_option="gres", gpus={"h100": GpuRequest(gres_type="hopper")}),
            "h100",
            {"--gres": "gpu:hopper:2"},
        ),
    ],
)
def test_each_site_is_asked_its_own_way(
    site: Site, kind: str | None, expected: dict[str, str]
) -> None:
    asked = options(plan(site=site, gpus=2, gpu=kind))
    assert expected.items() <= asked.items()
    assert len({"--gres", "--gpus-per-node"} & asked.keys()) == 1, "newer Slurm refuses both"


def test_what_the_cluster_said_of_itself_counts_where_no_profile_does() -> None:
    made = plan(
        how=launch(gpu_request=GpuRequest(constraint="A100"), node_cpus=64, node_gpus=4),
        gpus=4,
        gpu="a100_40",
    )
    assert options(made)["--constraint"] == "A100"
    assert options(made)["--mem"] == "0", "all GPUs of a node: all of its memory"
    assert made.cpus_per_node == 64
    half = plan(how=launch(node_cpus=64, node_gpus=4), gpus=2)
    assert half.cpus_per_node == 32
    assert "--mem" not in options(half)


@pytest.mark.parametrize(
    ("mem", "gpus", "expected"),
    [
        ("491520", 4, "480G"),
        ("491520", 1, "120G"),
        ("480G", 3, "360G"),
        ("1T", 1, "256G"),
        ("100001", 1, "25000"),
        ("0", 4, "0"),
        ("0", 2, None),
    ],
)
def test_a_part_of_a_node_asks_for_its_part_of_the_memory(
    mem: str, gpus: int, expected: str | None
) -> None:
    kinds = {"a": GpuRequest(per_node=4), "b": GpuRequest(per_node=4)}
    site = Site(name="s", gpus=kinds, mem=mem)
    for kind in ("a", None):
        assert options(plan(site=site, gpus=gpus, gpu=kind)).get("--mem") == expected
    alone = msgspec.structs.replace(site, exclusive=True)
    assert options(plan(site=alone, gpus=gpus))["--mem"] == {"491520": "480G"}.get(mem, mem), (
        "nobody else is there"
    )
    assert options(plan(site=site, gpus=gpus, mem="7G"))["--mem"] == "7G"


def test_memory_on_cpus_follows_the_cores() -> None:
    site = Site(name="s", gpus={"a": GpuRequest(per_node=4)}, mem="400G", cpus_per_gpu=10)
    assert options(plan(recipe(name="tiny"), site=site, cpu_processes=1))["--mem"] == "100G"
    assert options(plan(recipe(name="tiny"), site=site, cpu_processes=4))["--mem"] == "400G"


def test_on_cpus_no_gpu_is_asked_for() -> None:
    made = plan(recipe(name="tiny"), nodes=2, cpu_processes=3)
    assert not {"--gres", "--gpus-per-node", "--constraint"} & options(made).keys()
    assert (made.device, made.processes) == ("cpu", 6)
    values = dict(made.environment)
    assert values["ACCELERATE_USE_CPU"] == "true"
    assert not any(name.startswith("NCCL") for name in values)


def test_a_local_run_asks_nobody_and_has_one_node() -> None:
    assert plan(how=launch(mode="local"), gpus=2).options == ()
    with pytest.raises(UserError, match="one node"):
        plan(how=launch(mode="local"), nodes=2)


def test_the_sites_variables_win_and_come_last() -> None:
    site = Site(name="s", interface="ib0", environment={"OMP_NUM_THREADS": "3", "X": "y"})
    made = plan(site=site, gpus=1)
    values = dict(made.environment)
    assert values["OMP_NUM_THREADS"] == "3"
    assert values["NCCL_SOCKET_IFNAME"] == values["GLOO_SOCKET_IFNAME"] == "ib0"
    assert made.environment[-1] == ("X", "y")
    assert len(values) == len(made.environment), "no variable is set twice"
    assert "NCCL_SOCKET_IFNAME" not in dict(plan(gpus=1).environment)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0}, {"gpus": 0}, {"cpu_processes": -1}, {"cpus": 0},
        {"gpus": 1, "cpu_processes": 1}, {"port": 80}, {"port": 70000},
        {"time": "soon"}, {"time": "1:2:3:4"}, {"time": "3:00:00\n"}, {"time": "\uff13"},
        {"mem": "480GB"}, {"mem": "-1"}, {"mem": "480 G"}, {"mem": "480G\n"},
        {"account": "a b"}, {"qos": "q;rm"}, {"partition": "$(x)"}, {"partition": "p\n"},
        {"account": ""},
    ],
)  # fmt: skip
def test_what_could_not_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        Resources(**wrong).check()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "right",
    [
        *({"time": time} for time in ("90", "90:00", "3:00:00", "1-12", "1-12:30", "1-12:00:00")),
        *({"mem": mem} for mem in ("0", "491520", "480G", "480g", "1T")),
        {"account": "proj.a_b-1"},
        {"partition": "gpu,gpu-long"},
        {"port": 29500},
    ],
)
def test_slurms_own_forms_are_taken(right: dict[str, Any]) -> None:
    Resources(**right).check()


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a/b", "a\n", "ä", "x" * 101, "$(id)"])
def test_a_name_that_is_no_folders(name: str) -> None:
    with pytest.raises(UserError, match="--name"):
        check_name(name)
    with pytest.raises(UserError, match="--name"):
        plan(how=launch(name=name), gpus=1)


@pytest.mark.parametrize(
    "folder", ["/a\nb", "/a\n", '/a"b', "/a'b", "/a%jb", "/$HOME", "/a`b", "/a\\b", "relative"]
)
def test_a_folder_that_slurms_headers_cannot_hold(folder: str) -> None:
    with pytest.raises(UserError, match="--runs-dir"):
        plan(site=GENERIC, how=launch(folder=Path(folder)), gpus=1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nodes": "x"}, "nodes='x': expected a whole number"),
        ({"gpus": 2.5}, "gpus=2.5"),
        ({"cpus": True}, "cpus=True"),
        ({"time": 30}, "time=30: expected text"),
    ],
)
def test_what_only_python_can_ask_for_is_refused_in_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        Resources(**given).check()


def test_mail_that_the_recipe_names_is_slurms_to_send() -> None:
    asked = recipe("notify.mail=me@uni.example")
    found = options(plan(asked))
    assert (found["--mail-user"], found["--mail-type"]) == ("me@uni.example", "END,FAIL,REQUEUE")
    found = options(plan(asked, mail_user="other@uni.example", mail_type="ALL"))
    assert (found["--mail-user"], found["--mail-type"]) == ("other@uni.example", "ALL")
    assert "--mail-user" not in options(plan())
    by_itself = plan(asked, how=launch(mode="local"))
    assert any("notify.mail" in note.evidence for note in by_itself.notes)
