"""The recipe that is rehearsed: small, valid, and otherwise the one that is meant."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hpclaunch.recipe import library
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.rehearse.small_model import ALWAYS, SAMPLES, STEPS, TOKENS, small


@pytest.mark.parametrize("name", library.names())
def test_every_ready_recipe_has_a_small_one_that_reads_back(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    meant = load(name)
    made, missing = small(meant, tmp_path / "model", "cpu")
    file = tmp_path / "r.yaml"
    file.write_text(to_yaml(made))
    assert load(str(file)) == made
    assert made.training["max_steps"] == STEPS
    assert made.data.limit is not None
    assert made.data.limit <= SAMPLES
    assert made.method == meant.method
    assert made.data.name == meant.data.name
    assert missing == list(ALWAYS)


def test_each_of_several_datasets_is_small(tmp_path: Path) -> None:
    sources = [{"name": "org/a", "limit": 5}, {"name": "org/b", "weight": 2.0}]
    changes = {"data.name": None, "data.validation_split": None, "data.sources": sources}
    made, _ = small(load("tiny", (), changes), tmp_path, "cpu")
    assert [source.limit for source in made.data.sources] == [5, SAMPLES]
    assert made.data.limit is None
    file = tmp_path / "r.yaml"
    file.write_text(to_yaml(made))
    assert load(str(file)) == made


def test_what_only_a_gpu_can_do_is_left_out_and_named(tmp_path: Path) -> None:
    overrides = (
        "model.attention=flash_attention_2", "training.packing=true", "fsdp.offload=true",
        "training.optim=adamw_8bit", "training.torch_compile=true",
        "tracking.wandb.enabled=true", "checkpoints.sync_to=s3://bucket/me",
    )  # fmt: skip
    meant = load("llama3-8b-lora", overrides)
    made, missing = small(meant, tmp_path, "cpu")
    assert made.model.attention == "auto"
    assert made.fsdp.offload is False
    assert "torch_compile" not in made.training
    assert made.training["packing"] is True
    assert made.training["optim"] == "adamw_torch"
    assert missing[len(ALWAYS) :] == [
        "flash_attention_2's kernel", "the optimizer adamw_8bit", "torch.compile", "offload",
        "Weights & Biases", "the copy to checkpoints.sync_to",
    ]  # fmt: skip
    on_gpu, missing = small(meant, tmp_path, "gpu")
    assert on_gpu.model.attention == "flash_attention_2"
    assert on_gpu.training["packing"] is True
    assert missing == [*ALWAYS, "Weights & Biases", "the copy to checkpoints.sync_to"]
    assert on_gpu.checkpoints.sync_to is None, "a toy is copied nowhere"


def test_what_is_small_already_stays(tmp_path: Path) -> None:
    meant = load(
        "tiny",
        (
            "data.limit=5", "data.validation_split=validation[:3]", "training.max_length=32",
            "training.per_device_train_batch_size=1", "training.seed=9",
        ),
    )  # fmt: skip
    made, _ = small(meant, tmp_path, "cpu")
    assert (made.data.limit, made.data.validation_split) == (5, "validation[:3]")
    assert made.training["max_length"] == 32
    assert made.training["per_device_train_batch_size"] == 1
    assert made.training["seed"] == 9


def test_a_length_without_limit_gets_one(tmp_path: Path) -> None:
    made, _ = small(load("tiny", ("training.max_length=null",)), tmp_path, "cpu")
    assert made.training["max_length"] == TOKENS


def test_nothing_of_the_meant_recipe_is_changed(tmp_path: Path) -> None:
    meant = load("tiny")
    before = msgspec.to_builtins(meant)
    small(meant, tmp_path, "cpu")
    assert msgspec.to_builtins(meant) == before


def test_kernels_for_gpus_are_left_out_on_cpus_and_the_batch_is_small(tmp_path: Path) -> None:
    words = ("performance.liger=true", "performance.fp8=true", "training.global_batch=32")
    made, missing = small(load("llama3-8b-full", words), tmp_path, "cpu")
    assert not (made.performance.liger or made.performance.fp8)
    assert {"Liger kernels", "FP8"} <= set(missing)
    assert "global_batch" not in made.training
    on_gpu, _ = small(load("llama3-8b-full", words), tmp_path, "gpu")
    assert on_gpu.performance.liger
    for each in (made, on_gpu):
        (tmp_path / "r.yaml").write_text(to_yaml(each), "utf-8")
        assert load(str(tmp_path / "r.yaml")).training == each.training
