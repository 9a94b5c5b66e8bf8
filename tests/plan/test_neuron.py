"""`--gpu trn1`: a program of the user's own under torchrun, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.plan.neuron import PRECOMPILE
from hpclaunch.plan.plan import Plan, make_plan
from hpclaunch.plan.resources import Mode, Resources, StageLaunch
from hpclaunch.recipe.load import load
from hpclaunch.render.accelerate import plan_config
from hpclaunch.render.script import script
from hpclaunch.site.schema import GpuRequest, Site
from tests.plan.making import launch, options

CLUSTER = Site(name="pc", time="1:00:00", gpus={"trn1": GpuRequest(per_node=32, whole_nodes=True)})
TWO_NODES = Resources(nodes=2, gpus=32, gpu="trn1")


def planned(
    *program: str,
    changes: tuple[str, ...] = (),
    resources: Resources = TWO_NODES,
    site: Site = CLUSTER,
    mode: Mode = "sbatch",
    stage: StageLaunch | None = None,
) -> Plan:
    how = launch(program=program, mode=mode, stage=stage)
    own = () if changes else ("training.gradient_checkpointing=false",)
    return make_plan(load("llama3-8b-lora", (*own, *changes)), site, resources, how)


def test_torchrun_starts_a_process_for_each_core() -> None:
    plan = planned("train.py", "--x", "1")
    text = script(plan)
    assert "-- torchrun \\" in text and "accelerate-launch" not in text
    assert "--nnodes 2 --nproc_per_node 32 --node_rank " in text
    assert 'node.sh" --gpus' not in text, "that is CUDA's check"
    assert PRECOMPILE not in text
    assert yaml.safe_load(plan_config(plan)) is None
    values = dict(plan.environment)
    assert (values["FI_PROVIDER"], values["MALLOC_ARENA_MAX"]) == ("efa", "64")
    assert not [name for name in values if "NCCL" in name or "CUDA" in name]
    assert "NCCL" not in text


def test_one_node_needs_no_efa() -> None:
    assert "FI_PROVIDER" not in dict(planned("t.py", resources=Resources(gpus=2)).environment)


def test_nodes_without_a_gres_are_asked_for_whole() -> None:
    found = options(planned("train.py"))
    assert "--gpus-per-node" not in found and "--gres" not in found
    assert (found["--mem"], "--exclusive" in found) == ("0", True)


def test_the_only_type_of_the_site_need_not_be_named() -> None:
    assert planned("train.py", resources=Resources(gpus=32)).neuron
    on_cpus = planned("train.py", resources=Resources(cpu_processes=2))
    assert not on_cpus.neuron and "accelerate-launch" in script(on_cpus)


def test_compilation_goes_in_front_of_torchrun() -> None:
    text = script(planned(PRECOMPILE, "./run.sh", "10"))
    assert f"-- {PRECOMPILE} torchrun \\" in text
    assert "    --no_python ./run.sh 10\n" in text


MERGE = StageLaunch(name="merge", document="{}")
ITS_OWN = "--gpu trn1: hpclaunch's own trainer and stages run on NVIDIA GPUs and on CPUs"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (planned, ITS_OWN),
        (lambda: planned("-m", "hpclaunch.train.merge", stage=MERGE), ITS_OWN),
        (lambda: planned("-m", "hpclaunch.train.preflight"), ITS_OWN),
        (lambda: planned("-m", "hpclaunch.x", resources=Resources(gpus=2)), ITS_OWN),
        (lambda: planned("t.py", mode="local"), "--gpu trn1: a local run counts NVIDIA GPUs"),
        (lambda: planned(PRECOMPILE), f"{PRECOMPILE} names no program"),
        (
            lambda: planned(
                PRECOMPILE, "t.py", site=Site(name="g"), resources=Resources(gpus=2)
            ),
            f"{PRECOMPILE} compiles for AWS Trainium",
        ),
        (lambda: planned("t.py", changes=("fsdp.sharding=none",)), "has no effect"),
        (lambda: planned("t.py", changes=("model.dtype=float16",)), "has no effect"),
        (
            lambda: planned("t.py", changes=("training.gradient_checkpointing=true",)),
            "has no effect",
        ),
        (
            lambda: planned("t.py", resources=replace(TWO_NODES, gpus=64)),
            "--gpus 64: site pc has 32 of them per node",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(made: object, message: str) -> None:
    assert callable(made)
    with pytest.raises(UserError, match=re.escape(message)):
        made()


def test_no_plan_is_made_of_the_trainer_on_it() -> None:
    tiny = load("tiny")
    with pytest.raises(UserError, match=re.escape(ITS_OWN)):
        forecast(PredictionRequest(tiny, CLUSTER, 1, 32), {}, ask_hub=False)
