"""A small model of the same architecture, from its config alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Model
from hpclaunch.train import tiny_llama
from hpclaunch.train.simulation.shrink import main, shrink

LARGE = {
    "LlamaConfig": {"hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8,
                    "num_hidden_layers": 80, "intermediate_size": 28672},
    "Qwen3Config": {"head_dim": 128, "num_hidden_layers": 64},
    "MistralConfig": {"sliding_window": 16},
    "Gemma2Config": {"num_hidden_layers": 26},
    "Phi3Config": {"pad_token_id": 0},
    "MixtralConfig": {"num_local_experts": 8, "num_hidden_layers": 32},
    "Qwen3MoeConfig": {"num_experts": 128, "num_hidden_layers": 48},
    "GptOssConfig": {},
}  # fmt: skip


def config_in(folder: Path, kind: str, **fields: Any) -> Path:
    """A model's folder as the hub has it, but for the weights."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama.folder_of())
    config = getattr(transformers, kind)(**{"vocab_size": len(tokenizer), **fields})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "fields"), LARGE.items())
def test_each_family(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    folder = config_in(tmp_path / "large", kind, **fields)
    number = shrink(Model(name=str(folder), dtype="float32"), tmp_path / "small")
    assert number < 30_000_000
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype="float32")
    assert type(model.config).__name__ == kind
    assert AutoTokenizer.from_pretrained(tmp_path / "small").chat_template
    ids = torch.arange(12).reshape(1, 12) + 10
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_heads_that_share_keys_go_on_doing_so(tmp_path: Path) -> None:
    folder = config_in(tmp_path / "large", "LlamaConfig", **LARGE["LlamaConfig"])
    shrink(Model(name=str(folder)), tmp_path / "small")
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "small").config
    assert (config.num_attention_heads, config.num_key_value_heads) == (2, 1)
    assert config.head_dim == 128


def test_what_is_no_model_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        shrink(Model(name=str(tmp_path)), tmp_path / "small")
    assert main([str(tmp_path), str(tmp_path / "small")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "small").exists()
