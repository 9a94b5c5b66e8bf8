"""`--engine deepspeed` for real, on two CPU ranks: trained, saved, gone on with.

A program of the user's own under ZeRO-3, and the built-in trainer under ZeRO-3 and ZeRO-2.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import contents, folders
from hpclaunch.train.stages.checkpoint_weights import whole_weights
from tests.cli.running import ROOT
from tests.train.conftest import Done, short, write_jsonl
from tests.train.running import events_of, launch_real, losses, make_run
from tests.train.test_objective_runs import ROWS
from tests.train.weights import adapter_of, checkpoint_tensors

INSTALLED = Path(sys.prefix) / "deepspeed"
"""Where `make deepspeed` installs it."""
DEEPSPEED = {
    "PYTHONPATH": f"{ROOT}:{INSTALLED}",
    "PATH": f"{INSTALLED / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    "TORCH_EXTENSIONS_DIR": str(Path(sys.prefix) / "deepspeed-built"),
}
"""Variables with which a job finds it, and what it has compiled before."""
HERE = INSTALLED.is_dir() or importlib.util.find_spec("deepspeed") is not None

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(not HERE, reason="DeepSpeed is not installed: make deepspeed"),
]


def started(home: Path, name: str, steps: int) -> list[dict[str, Any]]:
    """Run the program for so many steps in all; return what its first rank printed of each."""
    environment = {**os.environ, "HOME": str(home), **DEEPSPEED}
    words = ["local", "--name", name, "--cpu-processes", "2", "--engine", "deepspeed", "--"]
    program = [str(ROOT / "tests/train/zero3.py"), str(home / "out"), str(steps)]
    done = subprocess.run(
        [sys.executable, "-m", "hpclaunch.cli.main", *words, *program],
        env=environment, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if '{"step"' in line]
    return [json.loads(line) for line in lines]


def test_zero3_trains_saves_and_goes_on(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "out").mkdir()
    first = started(tmp_path, "first", 3)
    rest = started(tmp_path, "rest", 6)
    assert [line["step"] for line in first + rest] == [1, 2, 3, 4, 5, 6]
    assert {line["ranks"] for line in first + rest} == {2}
    whole = load_file(tmp_path / "out/weights.safetensors")
    parameters = sum(each.numel() for each in whole.values())
    assert first[0]["held"] < 0.6 * parameters, "each rank holds its part"
    (tmp_path / "out/step").unlink()
    straight = started(tmp_path, "straight", 6)
    assert straight[0]["loss"] == pytest.approx(first[0]["loss"])
    assert straight[-1]["loss"] == pytest.approx(rest[-1]["loss"], rel=1e-2), "as without a stop"


def trained(folder: RunFolder, processes: int = 2) -> Done:
    """Train in a run folder under DeepSpeed."""
    variables = {**DEEPSPEED, "ACCELERATE_USE_CPU": "false", "DS_ACCELERATOR": "cpu"}
    done = Done(folder, launch_real(folder, processes, 600, **variables))
    assert done.outcome.code == 0, done.outcome.said[-6000:]
    return done


def gone_on(done: Done, root: Path, processes: int = 2) -> Done:
    """Copy a run as it was at its checkpoint before the last, and go on there."""
    shutil.copytree(done.folder.root, root)
    folder = RunFolder(root)
    shutil.rmtree(folders.complete(folder)[-1])
    shutil.rmtree(folder.final)
    folder.events.unlink()
    return trained(folder, processes)


@pytest.fixture(scope="module")
def zero_3(tmp_path_factory: pytest.TempPathFactory, tiny: Path, rows: Path) -> Done:
    """A full fine-tune under ZeRO-3."""
    overrides = [*short(tiny, rows), "method.kind=full", "model.dtype=bfloat16"]
    root = tmp_path_factory.mktemp("runs") / "zero-3"
    return trained(make_run(root, [*overrides, "fsdp.engine=deepspeed"]))


def test_a_full_fine_tune_learns_as_under_fsdp(
    zero_3: Done, full_run: Done, tiny: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    assert "DeepSpeed ZeRO-3" in zero_3.outcome.out
    assert losses(zero_3.folder) == pytest.approx(losses(full_run.folder), rel=2e-2)
    load, fsdp = (events_of(each.folder, "load")[0] for each in (zero_3, full_run))
    assert (load["parameters"], load["trainable"]) == (fsdp["parameters"], fsdp["trainable"])
    before = load_file(tiny / "model.safetensors")
    after = load_file(zero_3.folder.final / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(after[name].shape == before[name].shape for name in before)
    changed = [n for n in before if not torch.equal(after[n], before[n].to(torch.bfloat16))]
    assert len(changed) == len(before), "every weight was trained"
    model = AutoModelForCausalLM.from_pretrained(zero_3.folder.final, dtype="auto")
    assert model.dtype == torch.bfloat16 and model.config.use_cache
    checkpoint = zero_3.folder.checkpoints / "step-6"
    assert all(contents.may_hold(name) for name in contents.names(checkpoint)), "no pickles"
    masters = checkpoint_tensors(checkpoint / "pytorch_model_fsdp_0")
    assert {each.dtype for each in masters.values()} == {torch.float32}
    rounded = {name.removeprefix("model."): v.to(torch.bfloat16) for name, v in masters.items()}
    assert all(torch.equal(rounded[name], after[name]) for name in after)
    whole = load_file(whole_weights(zero_3.folder, checkpoint, tmp_path) / "model.safetensors")
    assert all(torch.equal(whole[name], after[name]) for name in after), "as eval takes them"


def test_it_goes_on_bit_for_bit_and_on_another_number_of_ranks(
    zero_3: Done, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    again = gone_on(zero_3, tmp_path / "again")
    assert "resuming from checkpoints/step-3" in again.outcome.out
    after, wanted = (load_file(each.folder.final / "model.safetensors") for each in (again, zero_3))
    assert all(torch.equal(after[name], wanted[name]) for name in wanted)
    for part in ("pytorch_model_fsdp_0", "optimizer_0"):
        held, straight = (
            checkpoint_tensors(each.folder.checkpoints / "step-6" / part)
            for each in (again, zero_3)
        )
        assert held.keys() == straight.keys()
        assert all(torch.equal(held[name], straight[name]) for name in straight), part
    alone = gone_on(zero_3, tmp_path / "alone", processes=1)
    assert "it was written by 2 ranks, now 1" in alone.outcome.out
    assert sorted(losses(alone.folder)) == [4, 5, 6]
    # Half the rows a step, and others: it goes on from there all the same.
    assert losses(alone.folder)[4] < losses(zero_3.folder)[2]


def test_an_adapter_under_zero_2_goes_on_bit_for_bit(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    overrides = [*short(tiny, rows), "model.dtype=bfloat16", "fsdp.engine=deepspeed"]
    done = trained(make_run(tmp_path / "zero-2", [*overrides, "fsdp.sharding=grad"]))
    again = gone_on(done, tmp_path / "again")
    final, wanted = adapter_of(again.folder), adapter_of(done.folder)
    assert final.keys() == wanted.keys() and len(wanted) > 0
    assert all(torch.equal(final[name], wanted[name]) for name in wanted)
    assert {each.dtype for each in wanted.values()} == {torch.float32}, "the masters"
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, done.folder.final)
    assert model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3).shape[1] > 3


def test_an_adapter_under_zero_3(tiny: Path, rows: Path, tmp_path: Path) -> None:
    """The model has more rows of embeddings than its tokenizer tokens, as many have."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wide = AutoModelForCausalLM.from_pretrained(tiny)
    wide.resize_token_embeddings(wide.config.vocab_size + 24)
    wide.save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "wide")
    overrides = [*short(tmp_path / "wide", rows), "model.dtype=bfloat16", "fsdp.engine=deepspeed"]
    done = trained(make_run(tmp_path / "zero-3", overrides))
    (load,) = events_of(done.folder, "load")
    assert load["parameters"] - load["trainable"] == wide.num_parameters(), "none was cut off"
    again = gone_on(done, tmp_path / "again")
    final, wanted = adapter_of(again.folder), adapter_of(done.folder)
    assert final.keys() == wanted.keys() and len(wanted) > 0
    assert all(torch.equal(final[name], wanted[name]) for name in wanted)
    assert any(each.abs().sum() > 0 for name, each in wanted.items() if "lora_B" in name)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_an_adapter_learns_from_preferences(tiny: Path, tmp_path: Path, objective: str) -> None:
    import torch

    rows = write_jsonl(tmp_path / "rows.jsonl", [ROWS[objective](n) for n in range(32)])
    overrides = [*short(tiny, rows, steps=4), "checkpoints.every_steps=2", "model.dtype=bfloat16"]
    done = trained(
        make_run(tmp_path / objective, [*overrides, "fsdp.engine=deepspeed"], base=objective)
    )
    steps = events_of(done.folder, "step")
    margins = [each["metrics"]["rewards/margins"] for each in steps]
    assert margins[-1] > margins[0]
    final, wanted = (adapter_of(each.folder) for each in (gone_on(done, tmp_path / "again"), done))
    assert final.keys() == wanted.keys() and len(wanted) > 0
    assert all(torch.equal(final[name], wanted[name]) for name in wanted)
