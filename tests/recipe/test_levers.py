"""Switches of `performance:`: what cannot be combined is refused by name before submission."""

from __future__ import annotations

import pytest

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.recipe.levers import LEVERS, needed_packages, switched_on
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Performance
from hpclaunch.render.accelerate import accelerate_config
from hpclaunch.site.load import gpus, load_site
from tests.plan.making import launch, plan

UNFUSED = "performance.fused_lora=false"
FULL = "method.kind=full"


@pytest.mark.parametrize(
    ("words", "named", "fix"),
    [
        (["performance.compile=true"], "fused LoRA layers", "fused_lora: false"),
        (["performance.liger=true"], "layers that are fused", "fused_lora: false"),
        (["performance.compile=true", UNFUSED, "method.kind=qlora"], "4-bit", "method.kind"),
        (["performance.compile=true", FULL, "fsdp.version=1"], "FSDP 2", "fsdp.version"),
        (["performance.compile=true", FULL, "model.attention=flex_attention"], "flex", "attention"),
        (["performance.compile=true", FULL, "training.torch_compile=true"], "twice", "torch_comp"),
        (["performance.liger=true", FULL, "training.use_liger_kernel=true"], "twice", "use_liger"),
        (["performance.fp8=true"], "full fine-tunes", "leave performance.fp8 out"),
        (["performance.fp8=true", FULL, "model.dtype=float16"], "bfloat16", "model.dtype"),
        (["performance.fp8=true", FULL, "fsdp.offload=true"], "exclude", "leave one out"),
        (["performance.every_n_layers=2"], "is auto", "activation_checkpointing: whole"),
    ],
)
def test_a_combination_that_cannot_be(words: list[str], named: str, fix: str) -> None:
    with pytest.raises(UserError, match=r"performance\.") as refused:
        load("llama3.1-8b-lora", words)
    assert named in refused.value.message
    assert fix in refused.value.fix


@pytest.mark.parametrize("section", ["model", "performance", "training"])
def test_kernels_that_are_fetched_when_the_model_is_loaded_are_refused(section: str) -> None:
    with pytest.raises(UserError, match=f"{section}.use_kernels would have") as refused:
        load("tiny", [f"{section}.use_kernels=true"])
    assert "performance.liger" in refused.value.fix


OLDER = [kind for kind, gpu in gpus().items() if not (gpu.fp8 or gpu.neuron)]


def test_hopper_and_blackwell_have_fp8() -> None:
    newer = {"h100", "h100_pcie", "h100_nvl", "h200", "gh200", "b200", "gb200"}
    assert newer <= {kind for kind, gpu in gpus().items() if gpu.fp8}
    assert not gpus()["a100_80"].fp8 and not gpus()["l40s"].fp8


@pytest.mark.parametrize("gpu", OLDER)
def test_fp8_needs_hopper_or_later(gpu: str) -> None:
    dtype = [] if gpus()[gpu].bf16_tflops else ["model.dtype=float16"]
    recipe = load("llama3.1-8b-full", ["performance.fp8=true"])
    with pytest.raises(UserError, match="bfloat16" if dtype else "no FP8"):
        plan(recipe, gpus=1, gpu=gpu)
    with pytest.raises(UserError, match="no FP8"):
        forecast(PredictionRequest(recipe, load_site("generic"), 1, 1, gpu), {}, ask_hub=False)


@pytest.mark.parametrize("key", ["liger", "fp8", "activation_offloading"])
def test_what_needs_a_gpu_is_refused_on_cpus(key: str) -> None:
    recipe = load("llama3.1-8b-full", [f"performance.{key}=true"])
    with pytest.raises(UserError, match=f"performance.{key} needs a GPU"):
        plan(recipe, cpu_processes=2)


def test_a_program_of_the_users_own_is_left_alone() -> None:
    recipe = load("llama3.1-8b-full", ["performance.fp8=true"], own_program=True)
    made = plan(recipe, how=launch(program=("python", "t.py")), gpus=1, gpu="a100_40")
    assert made.layout.precision == "bf16"


@pytest.mark.parametrize("key", LEVERS)
def test_a_switch_says_what_the_prediction_leaves_out(key: str) -> None:
    recipe = load("llama3.1-8b-full", [f"performance.{key}=true"])
    assert switched_on(recipe.performance) == [key]
    made = forecast(
        PredictionRequest(recipe, load_site("generic"), 1, 8, "h100"), {}, ask_hub=False
    )
    assert any(f"performance.{key}:" in each and "tried" in each for each in made.unknown)


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        ("compile", ["dynamo_backend: INDUCTOR", "dynamo_use_regional_compilation: true"]),
        ("fp8", ["mixed_precision: fp8", "backend: AO", "enable_fsdp_float8_all_gather: true"]),
    ],
)
def test_accelerates_config_has_it(key: str, lines: list[str]) -> None:
    recipe = load("llama3.1-8b-full", [f"performance.{key}=true"])
    made = plan(recipe, gpus=8, gpu="h100")
    text = accelerate_config(made.layout, 1, 8)
    plain = accelerate_config(plan(load("llama3.1-8b-full"), gpus=8, gpu="h100").layout, 1, 8)
    for line in lines:
        assert line in text
        assert line not in plain


def test_packages_are_named_and_nothing_is_on_by_default() -> None:
    words = ["performance.fp8=true", "performance.liger=true"]
    assert needed_packages(load("llama3.1-8b-full", words)) == ["liger_kernel", "torchao"]
    assert switched_on(Performance()) == []
