"""What stages take of memory, as predicted and as PyTorch's allocator counted it, on CPUs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.inference import Inference, scoring_memory, writing_memory
from tests.train.running import program

pytestmark = pytest.mark.train

RANK = 32
VALUE_BYTES = {"float32": 4, "bfloat16": 2}


def save_model(folder: Path, dtype: str, with_adapter: bool) -> None:
    """Save a model whose logits, cache and layers are larger than its weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from hpclaunch.train import tiny_llama

    config = LlamaConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=4, vocab_size=16000, max_position_embeddings=4096, dtype=dtype,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    source = tiny_llama.folder_of("builtin:tiny-llama")
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    if with_adapter:
        lora = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        get_peft_model(model, lora).save_pretrained(folder / "adapter")


# An adapter in fp32 over a model in bf16 is not held to this: the CPU's sum of the two makes a
# copy in fp32, which a GPU's kernel does not.
@pytest.fixture(
    scope="module",
    params=[("float32", True), ("bfloat16", False)],
    ids=["fp32 with an adapter", "bf16"],
)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, with or without an adapter."""
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, *request.param)
    return folder


@pytest.mark.parametrize(("what", "tokens", "new"), [("writing", 500, 2), ("scoring", 250, 0)])
def test_the_peak_is_predicted(stage: Path, what: str, tokens: int, new: int) -> None:
    batch = 8
    words = [str(word) for word in (stage, what, batch, tokens, new)]
    done = program("tests.train.inference_peak", *words)
    assert done.code == 0, done.said
    measured = json.loads(done.out.splitlines()[-1])
    config = json.loads((stage / "config.json").read_text())
    model, values = architecture(config), VALUE_BYTES[config["dtype"]]
    adapter = model.adapter_parameters(RANK) if (stage / "adapter").is_dir() else 0
    used = Inference(model, values * model.parameters, values, adapter)
    if what == "writing":
        predicted = writing_memory(used, batch, measured["tokens"], new)
    else:
        predicted = scoring_memory(used, batch, measured["tokens"])
    ratio = predicted.tensors / measured["bytes"]
    print(f"{what}: predicted {predicted.tensors / 1e6:.0f} MB, {ratio:.3f} of what was held")
    assert 0.97 < ratio < 1.05
