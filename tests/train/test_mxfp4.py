"""gpt-oss as it is published: experts in MXFP4, which are trained as bfloat16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.shipped import shipped
from tests.models.matrix import ARCHITECTURES

pytestmark = pytest.mark.train


def published(folder: Path) -> Path:
    """Write a small model with its experts' matrices in blocks of MXFP4."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "gpt_oss", hidden_size=64, intermediate_size=64, num_hidden_layers=2, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=1024, pad_token_id=0,
        architectures=["GptOssForCausalLM"], **ARCHITECTURES["gpt_oss"],
    )  # fmt: skip
    held = {}
    for name, value in AutoModelForCausalLM.from_config(config).state_dict().items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, columns, rows = value.shape
            blocks = (experts, rows, columns // 32)
            held[f"{name}_blocks"] = torch.randint(0, 256, (*blocks, 16), dtype=torch.uint8)
            held[f"{name}_scales"] = torch.randint(120, 124, blocks, dtype=torch.uint8)
        else:
            held[name] = value.bfloat16().contiguous()
    shutil.copytree(shipped("train", "tiny_llama_model"), folder)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    quantized = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
    document = {**config.to_dict(), "quantization_config": quantized}
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def test_its_experts_are_trained_as_bfloat16(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    from hpclaunch.train.model import Source, load_model

    folder = published(tmp_path / "oss")
    recipe = load("tiny", [f"model.name={folder}", "model.dtype=bfloat16", "method.kind=full"])
    model = load_model(recipe, Source(str(folder), None), "eager", 1024, 2)
    assert "requires Triton" not in capfd.readouterr().err, (
        "asked for, not a way out where kernels lack"
    )
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.model.layers[0].mlp.experts.down_proj.grad.abs().sum() > 0
    model.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved/config.json").read_text())

    qlora = load("tiny", [f"model.name={folder}", "method.kind=qlora"])
    with pytest.raises(UserError, match=r"quantized already \(mxfp4\)"):
        load_model(qlora, Source(str(folder), None), "eager", 1024, 2)
