"""What stages take of memory, as predicted and as measured, on CPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.inference import Inference, scoring_memory, writing_memory
from tests.cli.running import ROOT

pytestmark = pytest.mark.train

AT_FIRST_USE = 40e6
"""Bytes of threads and buffers that PyTorch makes in its first forward pass, whatever the model:
20 to 60 MB were seen."""
RANK = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in fp32 whose logits, cache and layers are far larger than what libraries take."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from hpclaunch.train import tiny_llama

    place = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=4, vocab_size=16000, max_position_embeddings=4096, dtype="float32",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(place)
    source = tiny_llama.folder_of("builtin:tiny-llama")
    AutoTokenizer.from_pretrained(source).save_pretrained(place)
    lora = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(place / "adapter")
    return place


@pytest.mark.parametrize(("what", "tokens", "new"), [("writing", 1000, 2), ("scoring", 250, 0)])
def test_the_peak_is_predicted(folder: Path, what: str, tokens: int, new: int) -> None:
    batch = 8
    words = [sys.executable, "-m", "tests.train.inference_peak", folder, what, batch, tokens, new]
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    model = architecture(json.loads((folder / "config.json").read_text()))
    used = Inference(model, 4 * model.parameters, 4, model.adapter_parameters(RANK))
    if what == "writing":
        predicted = writing_memory(used, batch, measured["tokens"], new)
    else:
        predicted = scoring_memory(used, batch, measured["tokens"])
    ratio = predicted.tensors / (measured["bytes"] - AT_FIRST_USE)
    print(f"{what}: predicted {predicted.tensors / 1e6:.0f} MB, {ratio:.2f} of what was measured")
    # 1.1 and 0.9 by themselves; up to 1.34 within the suite, why is unknown.
    assert 0.8 < ratio < 1.5
