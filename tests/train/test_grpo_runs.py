"""Runs of GRPO: completions are written, rewarded and learnt from, and a failed reward is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.diagnose.causes import diagnose
from hpclaunch.launch.rewards import copy_rewards
from hpclaunch.recipe.load import load
from hpclaunch.run.folder import RunFolder
from tests.diagnose.failed_runs import FailedRun, gathered
from tests.train.conftest import question, write_jsonl
from tests.train.running import Outcome, events_of, launch, losses, make_run

pytestmark = pytest.mark.train

VOWELS = """\
def vowels(completions, completion_ids, answer, **kwargs):
    assert len(answer) == len(completions), "the data's other columns come by name"
    texts = [completion[-1]["content"] for completion in completions]
    return [sum(map(text.count, "aeiou")) / max(1, len(text)) for text in texts]


def tokens(completion_ids, trainer_state, **kwargs):
    if trainer_state.global_step == STOP:
        raise LookupError("no such problem")
    return [-len(ids) / 100 for ids in completion_ids]
"""


def make(root: Path, tiny: Path, stop: int, *more: str) -> RunFolder:
    """Write a run of two ranks in which the second reward fails after `stop` steps."""
    root.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": [{"role": "user", "content": question(n)[0]}], "answer": question(n)[1]}
        for n in range(32)
    ]
    write_jsonl(root.parent / "rows.jsonl", rows)
    file = root.parent / "rewards.py"
    file.write_text(f"STOP = {stop}\n\n\n{VOWELS}")
    overrides = [
        f"model.name={tiny}", f"data.name={root.parent / 'rows.jsonl'}",
        f"method.grpo.rewards=[{file}:vowels, {file}:tokens]", "data.validation_split=null",
        "training.max_steps=6", "training.num_generations=8", "training.max_completion_length=16",
        "training.logging_steps=1", "training.warmup_steps=0", "training.log_completions=true",
        "training.lr_scheduler_type=constant", "training.gradient_checkpointing=true",
        "checkpoints.every_steps=2", "checkpoints.keep=3", "tracking.tensorboard=false",
        *more,
    ]  # fmt: skip
    folder = make_run(root, overrides, base="grpo")
    copy_rewards(load(str(folder.recipe)), folder)
    return folder


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    return [event["metrics"] for event in events_of(folder, "step")]


def test_a_full_fine_tune_earns_more_and_goes_on_where_it_was(tiny: Path, tmp_path: Path) -> None:
    folder = make(
        tmp_path / "run", tiny, 99, "method.kind=full", "training.learning_rate=1e-2",
        "training.beta=0.01", "training.reward_weights=[1.0, 0.0]",
    )  # fmt: skip
    outcome = launch(folder, 2)
    assert outcome.code == 0, outcome.said
    steps = metrics(folder)
    earned = [step["rewards/vowels/mean"] for step in steps]
    assert sum(earned[-2:]) > 1.3 * sum(earned[:2]), earned
    assert steps[-1]["reward"] == pytest.approx(earned[-1], abs=1e-5), "the other weighs nothing"
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6) and steps[-1]["kl"] > 0
    assert {"reward_std", "completions/mean_length", "completions/clipped_ratio"} <= steps[0].keys()
    assert all(event["tokens"] > 32 for event in events_of(folder, "step"))
    written = [json.loads(line) for line in folder.completions.read_text().splitlines()]
    assert len(written) == 6 * 32 and set(written[0]["rewards"]) == {"vowels", "tokens"}
    assert (folder.final / "model.safetensors").is_file()

    first = losses(folder)
    again = RunFolder(shutil.copytree(folder.root, tmp_path / "again"))
    shutil.rmtree(again.checkpoints / "step-6")
    shutil.rmtree(again.final)
    again.events.unlink()
    outcome = launch(again, 2)
    assert outcome.code == 0 and "resuming from checkpoints/step-4" in outcome.out, outcome.said
    assert metrics(again)[-1]["reward"] == pytest.approx(steps[-1]["reward"], rel=1e-3)
    assert losses(again)[5] == pytest.approx(first[5], abs=1e-3)


def test_a_failed_reward_is_named_and_the_run_goes_on_when_it_is_mended(
    tiny: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    eos = json.loads((tiny / "config.json").read_text())["eos_token_id"]
    bias = f"training.generation_kwargs={{sequence_bias: [[[{eos}], 4.5]]}}"
    groups = ("training.per_device_train_batch_size=2", "training.num_generations=2")
    folder = make(tmp_path / "run", tiny, 3, bias, *groups, "method.kind=qlora")
    outcome = launch(folder, 2)
    assert outcome.code == 1
    kind, headline = cause_of(folder, outcome)
    assert kind == "reward-function"
    file = tmp_path / "rewards.py"
    assert headline == (
        f"reward function failed: {file}:12 (tokens): LookupError: no such problem"
    ), headline

    file.write_text(file.read_text().replace("STOP = 3", "STOP = 99"))
    copy_rewards(load(str(folder.recipe)), folder)
    outcome = launch(folder, 2)
    assert outcome.code == 0 and "resuming from checkpoints/step-2" in outcome.out, outcome.said
    tokens: dict[int, list[float]] = {}
    for line in folder.completions.read_text().splitlines():
        row = json.loads(line)
        tokens.setdefault(row["step"], []).append(-100 * row["rewards"]["tokens"])
    assert any(max(each[:2]) != max(each[2:]) for each in tokens.values()), (
        "a rank has to write on until the other has ended"
    )
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder.final)
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.isfinite().all()


def cause_of(folder: RunFolder, outcome: Outcome) -> tuple[str, str]:
    """Return kind and headline of why a run failed."""
    (folder.logs / "job-1.out").write_text(outcome.said)
    found = diagnose(gathered(folder, FailedRun(code=outcome.code)))
    return found.cause.kind, found.cause.headline
