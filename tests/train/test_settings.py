"""From a recipe to the trainer's arguments and the model: what is set without being asked."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.objectives import OBJECTIVES, Objective
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import config_fields, distributed, model, settings
from tests.train.conftest import short


@pytest.fixture
def recipe(tiny: Path, rows: Path) -> Recipe:
    return load("tiny", short(tiny, rows))


def config(recipe: Recipe, tmp_path: Path, fsdp: int = 0, **more: Any) -> Any:
    context = distributed.DistContext(rank=0, world_size=1, device="cpu", fsdp_version=fsdp)
    options = {"conversations": True, "has_eval_set": False, "packing": False, **more}
    return settings.training_arguments(recipe, RunFolder(tmp_path), context, **options)


def changed(recipe: Recipe, **training: Any) -> Recipe:
    return msgspec.structs.replace(recipe, training={**recipe.training, **training})


def test_4_bit_weights_of_a_cpu_stay_as_fsdp_shards_them(tiny: Path, rows: Path) -> None:
    recipe = load("tiny", [*short(tiny, rows), "method.kind=qlora", "model.dtype=bfloat16"])
    loaded = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 0)
    packs = [getattr(each, "support_avx512bf16_for_cpu", None) for each in loaded.modules()]
    assert packs.count(False) > 0 == packs.count(True)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_list_of_fields_is_the_installed_trls(objective: Objective) -> None:
    file = resources.files("hpclaunch.recipe").joinpath(OBJECTIVES[objective].fields_file)
    assert json.loads(file.read_text("utf-8")) == config_fields.fields(objective)


def test_the_words_that_fields_take_are_the_installed_transformers() -> None:
    file = resources.files("hpclaunch.recipe").joinpath("field_choices.json")
    assert json.loads(file.read_text("utf-8")) == config_fields.choices()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float16"])
def test_a_model_is_loaded_in_the_type_asked_for(tiny: Path, rows: Path, dtype: str) -> None:
    """By name alone it would load as it was saved, or in float32."""
    import torch

    recipe = load("tiny", [*short(tiny, rows), f"model.dtype={dtype}"])
    loaded = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 2)
    assert {p.dtype for p in loaded.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(("method", "held"), [("full", "float32"), ("lora", "bfloat16")])
def test_weights_trained_without_sharding_are_held_in_32_bits(
    tiny: Path, rows: Path, method: str, held: str
) -> None:
    """In 16 bits, updates smaller than a weight's last place are rounded away."""
    import torch

    recipe = load("tiny", [*short(tiny, rows), f"method.kind={method}", "model.dtype=bfloat16"])
    loaded = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 0)
    assert {p.dtype for p in loaded.parameters()} == {getattr(torch, held)}


def test_a_model_that_cannot_do_with_sdpa_gets_the_kernel_it_can(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """Gemma 2 has no SDPA: left to choose, it is loaded with the eager kernel."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
             "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}  # fmt: skip
    Gemma2ForCausalLM(Gemma2Config(**shape)).save_pretrained(tmp_path / "gemma")
    words = [*short(tiny, rows), f"model.name={tmp_path / 'gemma'}"]
    for recipe, wanted in (
        (load("tiny", words), "eager"),
        (load("tiny", short(tiny, rows)), "sdpa"),
    ):
        loaded = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 2)
        assert loaded.config._attn_implementation == wanted


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_four_bit_weights_are_stored_as_bfloat16(tiny: Path, rows: Path, dtype: str) -> None:
    """As bytes, FSDP 2 would keep all of them on every rank."""
    import torch

    recipe = load("tiny", [*short(tiny, rows), "method.kind=qlora", f"model.dtype={dtype}"])
    loaded = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 2)
    packed = [p for p in loaded.parameters() if hasattr(p, "quant_state")]
    assert packed
    assert {p.dtype for p in packed} == {torch.bfloat16}


def test_the_loss_is_the_assistants_unless_the_recipe_says_otherwise(
    recipe: Recipe, tmp_path: Path
) -> None:
    assert config(recipe, tmp_path).assistant_only_loss is True
    assert config(recipe, tmp_path, conversations=False).assistant_only_loss is False
    all_tokens = changed(recipe, assistant_only_loss=False)
    assert config(all_tokens, tmp_path).assistant_only_loss is False


def test_precision_is_the_models(tiny: Path, rows: Path, tmp_path: Path) -> None:
    """TRL turns bf16 on by itself where neither is said."""
    for dtype, flags in (
        ("bfloat16", (True, False)),
        ("float16", (False, True)),
        ("float32", (False, False)),
    ):
        made = config(load("tiny", [*short(tiny, rows), f"model.dtype={dtype}"]), tmp_path)
        assert (made.bf16, made.fp16) == flags


def test_slow_saves_outlast_the_collectives_timeout(recipe: Recipe, tmp_path: Path) -> None:
    assert config(recipe, tmp_path).ddp_timeout == 7200
    assert config(changed(recipe, ddp_timeout=60), tmp_path).ddp_timeout == 60


def test_a_full_fine_tune_keeps_no_whole_gradients_between_micro_batches(
    recipe: Recipe, tmp_path: Path
) -> None:
    """Accelerate's default keeps those of the whole model on every rank until the last one."""

    def syncs_each_batch(of: Recipe, fsdp: int) -> bool:
        made = config(of, tmp_path, fsdp).accelerator_config
        return bool((made.gradient_accumulation_kwargs or {}).get("sync_each_batch"))

    method = msgspec.structs.replace(recipe.method, kind="full")
    full = msgspec.structs.replace(recipe, method=method)
    assert syncs_each_batch(full, fsdp=2)
    assert not syncs_each_batch(full, fsdp=0)
    assert not syncs_each_batch(recipe, fsdp=2), "an adapter's are small"
    own = {"gradient_accumulation_kwargs": {"sync_each_batch": False}}
    assert not syncs_each_batch(changed(full, accelerator_config=own), fsdp=2)


def test_an_eval_set_is_used(recipe: Recipe, tmp_path: Path) -> None:
    unsaid = {k: v for k, v in recipe.training.items() if not k.startswith("eval")}
    import msgspec

    plain = msgspec.structs.replace(recipe, training=unsaid)
    assert config(plain, tmp_path, has_eval_set=True).eval_strategy == "epoch"
    assert config(plain, tmp_path).eval_strategy == "no"


def test_curves_go_into_the_run_folder(
    tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    recipe = load("tiny", [*short(tiny, rows), "tracking.tensorboard=true"])
    assert config(recipe, tmp_path).report_to == ["tensorboard"]
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "metrics" / "tensorboard")


def test_fsdps_own_checkpointing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an adapter and sharded state it wrote checkpoints without a weight, and no error."""
    for name, value in (
        ("ACCELERATE_USE_CPU", "true"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("FSDP_VERSION", "2"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="loses the adapter"):
        distributed.context_from_env()
    monkeypatch.setenv("FSDP_ACTIVATION_CHECKPOINTING", "false")
    assert distributed.context_from_env().fsdp_version == 2


def test_a_gpu_job_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would otherwise train on the CPU for a week."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    with pytest.raises(UserError, match="sees no GPU"):
        distributed.context_from_env()


def test_deepspeeds_ranks_know_their_stage_and_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate's own variable for CPUs would leave DeepSpeed out."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    with pytest.raises(UserError, match="sees no GPU"):
        distributed.context_from_env()
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    context = distributed.context_from_env()
    assert (context.device, context.zero_stage, context.fsdp_version) == ("cpu", 3, 0)
    assert "ACCELERATE_USE_CPU" not in os.environ


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    from hpclaunch.recipe.schema import Model

    with pytest.raises(UserError, match=r"no config\.json"):
        model.source(Model(name=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="can hold code"):
        model.source(Model(name=str(tmp_path)))
