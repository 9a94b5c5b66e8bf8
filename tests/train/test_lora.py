"""LoRA over two ranks that share one model: what is said, kept, saved, and gone on with."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.run.events import newest, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import read_phase
from tests.train.conftest import Done, short, train
from tests.train.running import events_of, launch, losses
from tests.train.weights import adapter_of, checkpoint_tensors

pytestmark = pytest.mark.train


def test_a_run_ends_well_and_says_so(lora_run: Done) -> None:
    assert lora_run.outcome.code == 0, lora_run.outcome.said
    end = newest(read_events(lora_run.folder.events), "end")
    assert end is not None
    assert (end["step"], end["outcome"], end["final"]) == (6, "done", "final")
    modes = {path.stat().st_mode for path in lora_run.folder.final.iterdir()}
    assert len(modes) == 1, "whoever may read the config may read the weights"
    assert lora_run.folder.rank_errors() == []


def test_a_run_that_has_ended_is_in_no_phase(lora_run: Done) -> None:
    phase = read_phase(lora_run.folder)
    assert phase is not None
    assert (phase.name, phase.trains) == ("", True)


def test_each_step_is_one_line_and_one_event(lora_run: Done) -> None:
    assert list(losses(lora_run.folder)) == [1, 2, 3, 4, 5, 6]
    line = r"step \d/6  loss \d+\.\d{3}  lr 1\.0e-02  [\d,]+ tokens/s  eta \d"
    assert len(re.findall(line, lora_run.outcome.out)) == 6


def test_the_console_holds_nothing_else(lora_run: Done) -> None:
    assert "[cpu1]" not in lora_run.outcome.said, "the second rank has nothing to say"
    assert "%|" not in lora_run.outcome.said, "no progress bars"
    assert lora_run.outcome.err.strip() == ""


def test_tokens_are_those_of_all_ranks_without_padding(
    lora_run: Done, tiny: Path, rows: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    talks = [json.loads(line)["messages"] for line in rows.read_text("utf-8").splitlines()]
    epoch = sum(len(tokenizer.apply_chat_template(t, return_dict=True)["input_ids"]) for t in talks)
    steps = events_of(lora_run.folder, "step")
    assert sum(step["tokens"] for step in steps[:4]) == epoch, "4 steps of 2 x 4 are all 32 rows"
    (data,) = events_of(lora_run.folder, "data")
    assert (data["samples"], data["tokens"]) == (32, epoch)


def test_trainable_parameters_are_counted_over_all_ranks(lora_run: Done) -> None:
    """A rank's own shard would be half of them."""
    adapter = adapter_of(lora_run.folder)
    (load,) = events_of(lora_run.folder, "load")
    assert load["trainable"] == sum(tensor.numel() for tensor in adapter.values())
    assert f"{load['trainable']:,} trainable" in lora_run.outcome.out


def test_checkpoints_hold_the_adapter(lora_run: Done) -> None:
    """FSDP's own activation checkpointing left the model's part empty, without an error."""
    held = checkpoint_tensors(lora_run.folder.checkpoints / "step-6" / "pytorch_model_fsdp_0")
    final = adapter_of(lora_run.folder)
    assert sum(t.numel() for t in held.values()) == sum(t.numel() for t in final.values())
    assert all(name.count("lora_") for name in held)
    assert any(t.abs().sum() > 0 for name, t in held.items() if "lora_B" in name)


def test_only_whole_checkpoints_are_there(lora_run: Done) -> None:
    folder = lora_run.folder.checkpoints
    assert sorted(path.name for path in folder.iterdir()) == ["step-3", "step-6"]
    said = events_of(lora_run.folder, "checkpoint")
    assert [event["path"] for event in said] == ["checkpoints/step-3", "checkpoints/step-6"]
    assert all(event["bytes"] > 100_000 for event in said)


def test_the_final_adapter_loads_plainly_and_changes_what_is_written(
    lora_run: Done, tiny: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = adapter_of(lora_run.folder)
    assert all(t.abs().sum() > 0 for name, t in adapter.items() if "lora_B" in name), "as begun"
    tokenizer = AutoTokenizer.from_pretrained(lora_run.folder.final)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny).chat_template
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, lora_run.folder.final).eval()
    inputs = tokenizer("What colour is box 3?", return_tensors="pt")
    tuned = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert tuned.shape[1] > inputs["input_ids"].shape[1]
    with model.disable_adapter(), torch.no_grad():
        before = model(**inputs).logits
    assert not torch.allclose(before, model(**inputs).logits)
    files = {path.name for path in lora_run.folder.final.iterdir()}
    assert "adapter_model.safetensors" in files and not any(f.endswith(".bin") for f in files)


def test_the_final_adapter_is_the_checkpoints(lora_run: Done) -> None:
    """Gathered from two shards, and as the distributed checkpoint puts them together."""
    import torch

    held = checkpoint_tensors(lora_run.folder.checkpoints / "step-6" / "pytorch_model_fsdp_0")
    final = adapter_of(lora_run.folder)
    plain = {name.removeprefix("model.").replace(".default", ""): t for name, t in held.items()}
    assert plain.keys() == final.keys()
    assert all(torch.equal(plain[name], final[name]) for name in final)


def test_a_resumed_run_goes_on_where_it_was(lora_run: Done, tmp_path: Path) -> None:
    root = tmp_path / "again"
    shutil.copytree(lora_run.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folder.checkpoints / "step-6")
    shutil.rmtree(folder.final)
    folder.events.unlink()
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    assert "resuming from checkpoints/step-3" in outcome.out
    again, first = losses(folder), losses(lora_run.folder)
    assert list(again) == [4, 5, 6]
    assert again == pytest.approx({step: first[step] for step in again}, rel=1e-3)
    assert same(adapter_of(folder), adapter_of(lora_run.folder))


def test_checkpoints_of_whole_states_come_back_too(
    lora_run: Done, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    done = train(tmp_path / "whole", [*short(tiny, rows), "fsdp.state_dict=full"])
    assert done.outcome.code == 0, done.outcome.said
    folder = done.folder
    names = {path.suffix for path in folder.checkpoints.rglob("*") if path.is_file()}
    assert names <= {".safetensors", ".json", ".jinja", ".md"}, "no pickle among them"
    shutil.rmtree(folder.checkpoints / "step-6")
    shutil.rmtree(folder.final)
    folder.events.unlink()
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    assert "resuming from checkpoints/step-3" in outcome.out
    assert losses(folder) == pytest.approx(
        {step: losses(lora_run.folder)[step] for step in (4, 5, 6)}, rel=1e-3
    )


def test_one_rank_and_two_learn_the_same(
    lora_run: Done, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """The same eight samples a step, on one process without FSDP's help."""
    overrides = [*short(tiny, rows), "training.per_device_train_batch_size=8"]
    alone = train(tmp_path / "alone", [*overrides, "fsdp.sharding=none"], processes=1)
    assert alone.outcome.code == 0, alone.outcome.said
    assert losses(alone.folder) == pytest.approx(losses(lora_run.folder), rel=2e-2)
    assert (
        events_of(alone.folder, "load")[0]["trainable"]
        == (events_of(lora_run.folder, "load")[0]["trainable"])
    )
    assert same(adapter_of(alone.folder), adapter_of(lora_run.folder), tolerance=0.05)


def same(left: dict[str, Any], right: dict[str, Any], tolerance: float = 1e-4) -> bool:
    """Return whether two sets of weights agree."""
    import torch

    return left.keys() == right.keys() and all(
        torch.allclose(left[name], right[name], rtol=1e-3, atol=tolerance) for name in left
    )
