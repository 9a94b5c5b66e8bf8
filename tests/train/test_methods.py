"""QLoRA, a full fine-tune, plain and hybrid data parallelism: each saves what was trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from tests.train.conftest import Done, short, train
from tests.train.running import events_of, launch, losses
from tests.train.weights import adapter_of, checkpoint_tensors

pytestmark = pytest.mark.train


def test_qlora_keeps_its_adapter_and_loads_on_the_plain_model(qlora_run: Done, tiny: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert qlora_run.outcome.code == 0, qlora_run.outcome.said
    held = checkpoint_tensors(qlora_run.folder.checkpoints / "step-6" / "pytorch_model_fsdp_0")
    final = adapter_of(qlora_run.folder)
    assert sum(t.numel() for t in held.values()) == sum(t.numel() for t in final.values()) > 0
    assert {t.dtype for t in held.values()} == {torch.float32}, "as LoRA's: not in TRL's bfloat16"
    assert all(t.abs().sum() > 0 for name, t in final.items() if "lora_B" in name)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, qlora_run.folder.final)
    assert model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3).shape[1] > 3


def test_qlora_counts_parameters_not_their_packed_bytes(qlora_run: Done, lora_run: Done) -> None:
    packed, plain = events_of(qlora_run.folder, "load")[0], events_of(lora_run.folder, "load")[0]
    assert packed["parameters"] == plain["parameters"]
    assert packed["trainable"] == plain["trainable"]


def test_qlora_goes_on_where_it_was(qlora_run: Done, tmp_path: Path) -> None:
    root = tmp_path / "again"
    shutil.copytree(qlora_run.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folder.checkpoints / "step-6")
    folder.events.unlink()
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    again, first = losses(folder), losses(qlora_run.folder)
    assert again == pytest.approx({step: first[step] for step in (4, 5, 6)}, rel=1e-2)


def test_a_full_fine_tune_is_saved_whole_and_in_its_own_type(full_run: Done, tiny: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert full_run.outcome.code == 0, full_run.outcome.said
    before = load_file(tiny / "model.safetensors")
    after = load_file(full_run.folder.final / "model.safetensors")
    assert after.keys() == before.keys()
    assert {t.dtype for t in after.values()} == {torch.bfloat16}
    assert all(after[name].shape == before[name].shape for name in before)
    changed = [n for n in before if not torch.equal(after[n], before[n].to(torch.bfloat16))]
    assert len(changed) == len(before), "every weight was trained"
    model = AutoModelForCausalLM.from_pretrained(full_run.folder.final, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.config.use_cache, "switched off for training only"
    tokenizer = AutoTokenizer.from_pretrained(full_run.folder.final)
    inputs = tokenizer("What colour", return_tensors="pt")
    assert model.generate(**inputs, max_new_tokens=3).shape[1] > inputs["input_ids"].shape[1]


def test_a_full_fine_tune_goes_on_where_it_was(full_run: Done, tmp_path: Path) -> None:
    """The interrupted run's losses and weights are those of the one that went through."""
    import torch
    from safetensors.torch import load_file

    root = tmp_path / "again"
    shutil.copytree(full_run.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folder.checkpoints / "step-6")
    shutil.rmtree(folder.final)
    folder.events.unlink()
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    assert "resuming from checkpoints/step-3" in outcome.out
    again, first = losses(folder), losses(full_run.folder)
    assert again == pytest.approx({step: first[step] for step in (4, 5, 6)}, rel=1e-3)
    weights, wanted = (
        load_file(each.final / "model.safetensors") for each in (folder, full_run.folder)
    )
    assert weights.keys() == wanted.keys()
    assert all(torch.allclose(weights[name], wanted[name], atol=1e-3) for name in wanted)


def test_all_parameters_of_a_full_fine_tune_are_trainable(full_run: Done) -> None:
    load = events_of(full_run.folder, "load")[0]
    assert load["trainable"] == load["parameters"]


def test_a_full_fine_tune_learns_the_same_on_one_rank_and_two(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """Every gradient, of the head too, is that of all samples of a step."""
    whole = [*short(tiny, rows), "method.kind=full", "checkpoints.every_steps=0"]
    two = train(tmp_path / "two", whole)
    one = train(tmp_path / "one", [*whole, "training.per_device_train_batch_size=8"], processes=1)
    assert (two.outcome.code, one.outcome.code) == (0, 0), two.outcome.said + one.outcome.said
    assert losses(two.folder) == pytest.approx(losses(one.folder), rel=1e-2)


def test_hybrid_sharding_learns_what_full_sharding_does(
    lora_run: Done, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """Two copies of the model over two ranks each: eight samples a step as before."""
    overrides = [
        *short(tiny, rows, steps=3),
        "training.per_device_train_batch_size=2",
        "fsdp.sharding=hybrid",
    ]
    hybrid = train(tmp_path / "hybrid", overrides, processes=4, nodes=2)
    assert hybrid.outcome.code == 0, hybrid.outcome.said
    first = losses(lora_run.folder)
    assert losses(hybrid.folder) == pytest.approx({s: first[s] for s in (1, 2, 3)}, rel=2e-2)
    assert adapter_of(hybrid.folder).keys() == adapter_of(lora_run.folder).keys()
    (load,) = events_of(hybrid.folder, "load")
    assert load["trainable"] == events_of(lora_run.folder, "load")[0]["trainable"]


def test_without_sharding_every_rank_holds_the_model(
    lora_run: Done, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    plain = train(tmp_path / "plain", [*short(tiny, rows, steps=3), "fsdp.sharding=none"])
    assert plain.outcome.code == 0, plain.outcome.said
    first = losses(lora_run.folder)
    assert losses(plain.folder) == pytest.approx({s: first[s] for s in (1, 2, 3)}, rel=2e-2)
    assert adapter_of(plain.folder).keys() == adapter_of(lora_run.folder).keys()
