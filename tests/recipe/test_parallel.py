"""Context and tensor parallelism in recipe, plan and config: what follows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpclaunch.errors import UserError
from hpclaunch.launch.check import check_recipe
from hpclaunch.recipe.global_batch import divide
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.recipe.parallel import check_model
from hpclaunch.render.accelerate import plan_config
from hpclaunch.render.job import render_job
from tests.plan.making import launch, plan

TWO = "fsdp.context_parallel=2"


def long(*overrides: str, name: str = "llama3.1-8b-lora") -> Any:
    return load(name, [TWO, *overrides])


def test_what_follows_from_it() -> None:
    made = long()
    assert made.model.attention == "sdpa"
    assert made.training["packing"] is False
    assert made.training["pad_to_multiple_of"] == 4
    assert (
        long("training.pad_to_multiple_of=6", "training.max_length=4080").training[
            "pad_to_multiple_of"
        ]
        == 12
    )


def test_a_written_recipe_is_read_back(tmp_path: Path) -> None:
    """Also on another number of ranks, when the run goes on."""
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(long()), "utf-8")
    assert load(str(file)) == long()
    assert load(str(file), ["fsdp.context_parallel=4"]).training["pad_to_multiple_of"] == 8
    assert load(str(file), ["fsdp.context_parallel=1"]).training["packing"] is False


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["training.packing=true"], "mask"),
        (["training.padding_free=true"], "padding_free"),
        (["model.attention=flash_attention_2"], "flash_attention_2"),
        (["model.attention=varlen_attn"], "varlen_attn"),
        (["fsdp.version=1"], "FSDP 2"),
        (["fsdp.sharding=none"], "FSDP 2"),
        (["training.max_length=4098"], "training.max_length=4096"),
        (["performance.compile=true", "performance.fused_lora=false"], "performance.compile"),
        (["training.label_smoothing_factor=0.1"], "label smoothing"),
        (["method.objective=dpo"], "dpo"),
    ],
)
def test_what_it_cannot_be_combined_with(words: list[str], named: str) -> None:
    with pytest.raises(UserError, match=r"fsdp\.context_parallel") as refused:
        long(*words)
    assert named in f"{refused.value.message} {refused.value.fix}"


def test_a_program_of_ones_own_is_refused() -> None:
    with pytest.raises(UserError, match="built-in trainer"):
        load("llama3.1-8b-lora", [TWO], own_program=True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["method.kind=lora"], "PEFT"),
        (["method.kind=qlora"], "PEFT"),
        (["method.kind=full"], "ReplicateParallel"),
        (["method.kind=full", "fsdp.sharding=none"], "save and resume"),
    ],
)
def test_tensor_parallelism_is_refused_with_its_reason(words: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load("llama3.1-8b-lora", ["fsdp.tensor_parallel=2", *words])
    load("llama3.1-8b-lora", ["fsdp.tensor_parallel=1"])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "gpt_oss"}, "sinks"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding windows"),
        ({"model_type": "gemma3_text", "layer_types": ["sliding_attention"]}, "sliding windows"),
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "soft-capping"),
        ({"model_type": "llama", "attention_dropout": 0.1}, "dropout"),
        ({"model_type": "mixtral"}, "mixtral"),
    ],
)
def test_models_whose_attention_a_ring_does_not_compute(config: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_model(long(), config)
    check_model(load("llama3.1-8b-lora"), config)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"model_type": "mistral", "sliding_window": None},
        {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 4096},
        {"model_type": "qwen3", "layer_types": ["full_attention"], "sliding_window": 4096},
    ],
)
def test_models_with_plain_attention(config: dict[str, Any]) -> None:
    check_model(long(), config)


def test_a_model_on_this_machine_is_refused_before_submission(tmp_path: Path) -> None:
    config = {"model_type": "mistral", "sliding_window": 128}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    made = plan(long(f"model.name={tmp_path}"), how=launch(modules=("x",)), gpus=4)
    with pytest.raises(UserError, match="sliding windows"):
        check_recipe(render_job(made), lambda _: None)


def test_the_mesh_that_accelerate_is_given() -> None:
    made = yaml.safe_load(plan_config(plan(long(), nodes=2, gpus=4)))
    prefix = "parallelism_config_"
    mesh = {key.removeprefix(prefix): size for key, size in made["parallelism_config"].items()}
    sizes = {"dp_replicate_size": 1, "dp_shard_size": 4, "cp_size": 2}
    assert mesh == {**sizes, "cp_backend": "torch", "cp_comm_strategy": "allgather"}
    hybrid = yaml.safe_load(plan_config(plan(long("fsdp.sharding=hybrid"), nodes=2, gpus=4)))
    assert hybrid["parallelism_config"][f"{prefix}dp_replicate_size"] == 2
    assert hybrid["parallelism_config"][f"{prefix}dp_shard_size"] == 2


@pytest.mark.parametrize(
    ("words", "nodes", "gpus", "named"),
    [
        ((), 1, 3, "does not divide 3 ranks"),
        (("fsdp.context_parallel=4", "training.max_length=4096"), 2, 6, "nodes of 6"),
        (("fsdp.sharding=hybrid",), 2, 2, "hybrid"),
    ],
)
def test_groups_that_do_not_fit(words: tuple[str, ...], nodes: int, gpus: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        plan(long(*words), nodes=nodes, gpus=gpus)


def test_ranks_of_a_sequence_count_once_in_the_global_batch() -> None:
    made = divide(long("training.global_batch=8"), ranks=8)
    training = made.training
    batch = training["per_device_train_batch_size"] * training["gradient_accumulation_steps"]
    assert batch == 2
    with pytest.raises(UserError, match="cannot be divided"):
        divide(long("training.global_batch=2"), ranks=8)
