"""`--engine deepspeed`: its config for a program of the user's own, and what it is refused with."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Changes, Request
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.load import load
from hpclaunch.recipe.zero import check_zero_model
from hpclaunch.render.job import Job

ON_GPUS = Request(
    site="generic",
    name="r",
    program=("train.py",),
    changes=Changes(engine="deepspeed"),
    resources=Resources(nodes=2, gpus=4),
)


def drafted(**changes: object) -> Job:
    return draft(replace(ON_GPUS, changes=replace(ON_GPUS.changes, **changes)))  # type: ignore[arg-type]  # a test's own


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            {"zero_stage": 3, "zero3_init_flag": True, "zero3_save_16bit_model": True,
             "offload_optimizer_device": "none", "offload_param_device": "none"},
        ),
        (
            {"offload": True},
            {"zero_stage": 3, "zero3_init_flag": True, "zero3_save_16bit_model": True,
             "offload_optimizer_device": "cpu", "offload_param_device": "cpu"},
        ),
        ({"sharding": "grad"}, {"zero_stage": 2, "offload_optimizer_device": "none"}),
    ],
)  # fmt: skip
def test_the_config_names_the_zero_stage(
    changes: dict[str, object], expected: dict[str, object]
) -> None:
    config = yaml.safe_load(drafted(**changes).accelerate)
    assert config["distributed_type"] == "DEEPSPEED" and "fsdp_config" not in config
    assert config["deepspeed_config"] == {"deepspeed_multinode_launcher": "standard"} | expected
    assert (config["num_machines"], config["num_processes"]) == (2, 8)
    assert config["mixed_precision"] == "bf16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sharding": "hybrid"}, "--engine deepspeed with --sharding hybrid"),
        ({"sharding": "none"}, "--engine deepspeed with --sharding none"),
        ({"fsdp": 1}, "--engine deepspeed with --fsdp 1"),
        ({"activation_checkpointing": True}, "with --activation-checkpointing"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        drafted(**changes)


TRAINER = replace(ON_GPUS, recipe="llama3-8b-full", program=())


def test_the_trainer_has_zero_in_place_of_fsdp() -> None:
    job = draft(TRAINER)
    assert yaml.safe_load(job.accelerate)["deepspeed_config"]["zero_stage"] == 3
    assert job.plan.recipe.performance.fused_lora is False
    assert not any("backend" in note.fix for note in job.plan.notes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.objective=dpo"], "with objective dpo, method full, was not tried; it was with"),
        (["method.objective=reward", "method.kind=lora"], "with objective reward, method lora"),
        (
            ["method.objective=dpo", "method.kind=lora", "training.precompute_ref_log_probs=true"],
            "with training.precompute_ref_log_probs was not tried",
        ),
        (["method.kind=qlora"], "with method qlora"),
        (["model.dtype=float16"], "with model.dtype float16"),
        (["fsdp.offload=true"], "with --offload and the built-in trainer"),
        (["fsdp.state_dict=full"], "with fsdp.state_dict: full"),
        (["checkpoints.asynchronous=true"], "with checkpoints.asynchronous"),
        (["training.optim=adafactor"], "with training.optim=adafactor"),
        (["performance.liger=true"], "with performance.liger was not tried"),
        (["performance.every_n_layers=2"], "with performance.every_n_layers was not tried"),
        (["performance.activation_checkpointing=mlp"], "performance.activation_checkpointing: mlp"),
        (["training.torch_compile=true"], "with training.torch_compile was not tried"),
        (["data.special_tokens=['<x>']"], "with new tokens"),
        (["method.kind=lora", "method.lora.use_dora=true"], "with method.lora.use_dora"),
        (["method.kind=lora", "method.lora.init_lora_weights=pissa"], "lora.init_lora_weights"),
        (["fsdp.context_parallel=2"], "fsdp.context_parallel: 2 needs FSDP 2"),
    ],
)
def test_what_was_not_tried_with_the_trainer_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load("llama3-8b-full", overrides, {"fsdp.engine": "deepspeed"})


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, "a mixture of experts"),
        ({"text_config": {"num_experts": 128}}, "a mixture of experts"),
        ({"text_config": {}, "vision_config": {"depth": 2}}, "a model with a vision tower"),
    ],
)
def test_models_that_were_not_tried_are_refused(config: dict[str, object], what: str) -> None:
    recipe = load("llama3-8b-full", flags={"fsdp.engine": "deepspeed"})
    with pytest.raises(UserError, match=what):
        check_zero_model(recipe, config)
    check_zero_model(recipe, {"model_type": "llama"})


def test_on_cpus_accelerate_does_not_leave_it_out() -> None:
    job = draft(replace(ON_GPUS, resources=Resources(cpu_processes=2)))
    config = yaml.safe_load(job.accelerate)
    assert config["distributed_type"] == "DEEPSPEED" and config["use_cpu"] is False
    assert "export DS_ACCELERATOR=cpu" in job.script
    assert "ACCELERATE_USE_CPU" not in job.script
    assert any("backend" in note.fix for note in job.plan.notes)
