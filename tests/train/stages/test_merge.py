"""Merging: the same model as base and adapter, whatever the adapter is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.weight_files import read_json
from hpclaunch.train.stages.inputs import Weights
from tests.train.conftest import random_llama


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Return a random Llama whose head is tied to its embeddings, and one whose is not."""
    folder = tmp_path_factory.mktemp("bases")
    return {tied: random_llama(folder / f"tied-{tied}", tied=tied) for tied in (True, False)}


def adapter_of(base: Path, folder: Path, tokens: int = 0, **fields: Any) -> Path:
    """Save an adapter with random weights, as a training leaves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens:
        tokenizer.add_tokens([f"<new{n}>" for n in range(tokens)])
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        new = list(range(len(tokenizer) - tokens, len(tokenizer)))
        fields["trainable_token_indices"] = {"embed_tokens": new, "lm_head": new}
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "down_proj"], **fields})
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    tokenizer.save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path, folder: Path) -> dict[str, Any]:
    from hpclaunch.train.stages.merge import write_merged

    folder.mkdir()
    return write_merged(Weights("a", str(base), None, adapter, ""), base, folder)


def difference(base: Path, adapter: Path, folder: Path) -> float:
    """Return how far the logits of adapter and merged model are apart, at most."""
    from hpclaunch.train.stages.compare import logits

    return logits(Weights("a", str(base), None, adapter, ""), base, folder)["max"]


ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora, patterns": {"use_rslora": True, "rank_pattern": {"layers.1.mlp.down_proj": 2}},
    "dora": {"use_dora": True},
    "whole modules": {"modules_to_save": ["up_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_merged_model_is_the_adapters(
    bases: dict[bool, Path], tmp_path: Path, name: str
) -> None:
    adapter = adapter_of(bases[False], tmp_path / "adapter", **ADAPTERS[name])
    values = merged(bases[False], adapter, tmp_path / "merged")
    assert difference(bases[False], adapter, tmp_path / "merged") < 1e-4
    assert not values["untied"]
    assert values["files"] == 1


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_a_tied_matrix_that_changed_on_one_side_is_stored_apart(
    bases: dict[bool, Path], tmp_path: Path, module: str
) -> None:
    adapter = adapter_of(bases[True], tmp_path / "adapter", target_modules=["q_proj", module])
    values = merged(bases[True], adapter, tmp_path / "merged")
    assert values["untied"]
    assert difference(bases[True], adapter, tmp_path / "merged") < 1e-4
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config["tie_word_embeddings"] is False


def test_a_tied_model_stays_tied_where_nothing_touched_it(
    bases: dict[bool, Path], tmp_path: Path
) -> None:
    adapter = adapter_of(bases[True], tmp_path / "adapter")
    assert not merged(bases[True], adapter, tmp_path / "merged")["untied"]
    assert difference(bases[True], adapter, tmp_path / "merged") < 1e-4
    assert json.loads((tmp_path / "merged/config.json").read_text())["tie_word_embeddings"]


def test_rows_of_new_tokens_are_in_the_merged_model(
    bases: dict[bool, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    adapter = adapter_of(bases[False], tmp_path / "adapter", tokens=3)
    merged(bases[False], adapter, tmp_path / "merged")
    assert difference(bases[False], adapter, tmp_path / "merged") < 1e-4
    rows = load_file(tmp_path / "merged/model.safetensors")["model.embed_tokens.weight"]
    before = load_file(bases[False] / "model.safetensors")["model.embed_tokens.weight"]
    assert rows.shape[0] == before.shape[0] + 3
    assert rows[-3:].abs().min() > 0
    assert (read_json(tmp_path / "merged/config.json") or {})["vocab_size"] == rows.shape[0]


def test_a_sharded_base_in_16_bits_is_rounded_once(bases: dict[bool, Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(bases[False], dtype=torch.bfloat16)
    model.save_pretrained(base, max_shard_size="50KB")
    for path in bases[False].glob("tokenizer*"):
        (base / path.name).write_bytes(path.read_bytes())
    adapter = adapter_of(base, tmp_path / "adapter")
    values = merged(base, adapter, tmp_path / "merged")
    assert values["files"] > 1
    name = "model.layers.0.self_attn.q_proj"
    weights = load_file(adapter / "adapter_model.safetensors")
    a, b = (weights[f"base_model.model.{name}.lora_{part}.weight"].float() for part in "AB")
    right = model.get_parameter(f"{name}.weight").float() + b @ a * (8 / 4)
    index = json.loads((tmp_path / "merged/model.safetensors.index.json").read_text())
    file = index["weight_map"][f"{name}.weight"]
    found = load_file(tmp_path / "merged" / file)[f"{name}.weight"]
    assert torch.equal(found, right.to(torch.bfloat16))


def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    from hpclaunch.train.stages.tensor_files import INDEX, TensorFiles

    for file in ("../secret.safetensors", "/etc/passwd", "x.bin", 3):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
        with pytest.raises(UserError, match="damaged"):
            TensorFiles(tmp_path)


def test_the_memory_of_the_job_bounds_what_is_compared(tmp_path: Path) -> None:
    """A node with much free memory does not help a job that was given little of it."""
    from hpclaunch.train.stages.free_memory import free_bytes

    (tmp_path / "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0").mkdir(parents=True)
    group = tmp_path / "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    (tmp_path / "proc/self").mkdir(parents=True)
    path = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    (tmp_path / "proc/self/cgroup").write_text(f"0::{path}\n")
    (group / "memory.max").write_text("50000000\n")
    (group / "memory.current").write_text("20000000\n")
    (group / "memory.stat").write_text("inactive_file 5000000\n")
    assert free_bytes(tmp_path) == 35_000_000
