"""Plans that start from what was measured: the links by preflight, the GPUs by earlier runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.predict.families import architecture
from hpclaunch.predict.hardware import SpeedFit, fit_speed
from hpclaunch.predict.step_time import Hardware, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.schema import MethodKind
from hpclaunch.run.events import log_event
from hpclaunch.site.measured import Measured, Rates, text_of
from tests.cli.running import Home
from tests.predict.shapes import SHAPES

FOUR = ["training.global_batch=null", "training.per_device_train_batch_size=2",
        "training.gradient_accumulation_steps=4", "--model", "./model", "--nodes", "2",
        "--gpus", "4", "--gpu", "a100_40"]  # fmt: skip
MODEL = architecture(SHAPES["8b"])
METHODS: list[MethodKind] = ["lora", "full"]
LOAD = TrainingStep(MODEL, "lora", MODEL.adapter_parameters(16), "full", 8, 4, 2048, True)
MACHINE = Hardware(2, 4, 312, 1555, 225, 20)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps(SHAPES["8b"]))
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / "model" / name).touch()
    return Home(tmp_path)


def keep(home: Home, record: Measured) -> Path:
    path = home.folder / ".config/hpclaunch/measured/generic.json"
    path.parent.mkdir(parents=True)
    path.write_text(text_of(record))
    return path


def planned(home: Home, *words: str) -> dict[str, Any]:
    done = home.call("plan", "llama3-8b-lora", *FOUR, *words, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def rates(gb_s: float) -> Rates:
    return Rates(gather_gb_s=gb_s, reduce_gb_s=gb_s, ranks=8, nodes=2, when=1.79e9)


def test_measured_links_are_known_to_later_plans(home: Home) -> None:
    assert planned(home)["step"]["seconds"] is None, "nobody has told of the network"
    keep(home, Measured(across={"a100_40": rates(0.5)}))
    slow = planned(home)["step"]["communication"]
    done = home.call("plan", "llama3-8b-lora", *FOUR)
    assert "0.5 GB/s between nodes (measured by preflight on 2026-09-21, 8 ranks)" in done.out
    # Told by a data sheet, of which collectives reach three quarters.
    told = planned(home, "--network", f"{0.5 / 0.75}GB/s")["step"]["communication"]
    assert told == pytest.approx(slow, rel=0.01)
    other = home.call("plan", "llama3-8b-lora", *FOUR[:-1], "a100_80")
    assert "exposed communication unknown" in other.out, "another kind may have another network"


def test_links_inside_a_node_are_measured_too(home: Home) -> None:
    keep(home, Measured(inside={"a100_40": rates(1.0)}))
    one = ["plan", "llama3-8b-lora", "--gpus", "4", "--gpu", "a100_40"]
    assert "1 GB/s between GPUs of a node (measured" in home.call(*one).out


@pytest.mark.parametrize("text", ["", "{", '{"format": 7}', '{"inside": 3}', "[]"])
def test_a_damaged_record_is_named_and_what_to_do(home: Home, text: str) -> None:
    path = keep(home, Measured())
    path.write_text(text)
    done = home.call("plan", "llama3-8b-lora", *FOUR)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert f"{path}" in done.err and "remove it, and measure again" in done.err
    # A job is not held up by it.
    assert home.call("sbatch", "llama3-8b-lora", *FOUR, "--dry-run").code == 0


@given(
    pace=st.floats(0.06, 1.5),
    length=st.integers(1024, 4096),
    method=st.sampled_from(METHODS),
)
def test_the_pace_of_a_step_is_found_again(pace: float, length: int, method: Any) -> None:
    load = replace(LOAD, seq_len=length, method=method)
    machine = replace(MACHINE, speed_factor=pace, network_gb_s=2000.0, link_gb_s=2000.0)
    seconds = step_time(load, 1, machine).seconds
    assert seconds is not None
    found = fit_speed(load, 1, replace(machine, speed_factor=1.0), seconds)
    assert found.speed_factor == pytest.approx(pace, rel=0.005, abs=0.0006)


def test_a_step_that_waited_for_the_network_tells_nothing_of_the_gpus() -> None:
    slow = replace(MACHINE, network_gb_s=0.2)
    seconds = step_time(LOAD, 1, slow).seconds
    assert seconds is not None
    assert fit_speed(LOAD, 1, slow, seconds) == SpeedFit()
    assert fit_speed(LOAD, 1, slow, seconds / 100) == SpeedFit(), "faster than any card can be"


def ran(home: Home, name: str, seconds: float, *words: str) -> None:
    """A run of the 8B recipe as it would be left, with steps of so many seconds."""
    written = home.call("sbatch", "llama3-8b-lora", *FOUR, "--name", name, "--no-submit", *words)
    assert written.code == 0, written.err
    events = home.runs / name / "events.jsonl"
    for number in range(1, 12):
        took = seconds * (30 if number == 1 else 1)
        log_event(events, "step", step=number, total=99, seconds=took, tokens=8 * 8 * 4096)


def test_runs_that_were_measured_tell_how_fast_the_gpus_are(home: Home) -> None:
    keep(home, Measured(across={"a100_40": rates(20.0)}))
    before = planned(home)
    assumed, packed = before["assumed"]
    assert "as many rows as samples" in packed
    assert assumed.startswith("78% of the GPU's bf16 peak in large matrix products, 85%")
    assert assumed.endswith("17 µs to launch a kernel")
    seconds = before["step"]["seconds"]
    ran(home, "slower", 1.5 * seconds)
    after = planned(home)
    assert any(
        "0.67 times as fast as the assumptions say (as run slower showed)" in note
        for note in after["measured"]
    ), after["measured"]
    assert after["step"]["seconds"] == pytest.approx(1.5 * seconds, rel=0.02)
    peaks = {"allocated": 2 * 2**30, "reserved": 4 * 2**30, "loading_allocated": 3 * 2**30}
    log_event(home.runs / "slower/events.jsonl", "memory", **peaks)
    notes = planned(home)["measured"]
    tensors = json.loads((home.runs / "slower/run.json").read_text())["prediction"]["tensors"]
    told = f"3.0 GiB of tensors on a GPU where {tensors / 2**30:.1f} were predicted (run slower)"
    assert told in notes
    # The newest counts; another method, or another kind of GPU, tells nothing of this one.
    ran(home, "newer", 1.2 * seconds)
    assert planned(home)["step"]["seconds"] == pytest.approx(1.2 * seconds, rel=0.02)
    ran(home, "other", 3 * seconds, "--method", "qlora")
    assert planned(home)["step"]["seconds"] == pytest.approx(1.2 * seconds, rel=0.02)


def test_how_long_a_checkpoint_takes_is_known_from_runs_that_saved_one(home: Home) -> None:
    assert planned(home)["checkpoint_seconds"] is None
    text = home.call("plan", "llama3-8b-lora", *FOUR).out
    assert "GB, every 50 steps; its time is unknown until a run here has saved" in text
    ran(home, "saved", 9.0)
    events = home.runs / "saved/events.jsonl"
    log_event(events, "checkpoint", step=5, seconds=0.0, bytes=10**9, path="x")
    assert planned(home)["checkpoint_seconds"] is None, "in no time: a clock that jumped"
    log_event(events, "checkpoint", step=9, seconds=0.1, bytes=10**6, path="x")
    assert planned(home)["checkpoint_seconds"] is None, "a small one takes its time for its files"
    log_event(events, "checkpoint", step=10, seconds=4.0, bytes=10**9, path="x")
    for odd in ({"bytes": "much"}, {"bytes": 10**9, "seconds": math.inf}, {"bytes": 10**9}):
        log_event(events, "checkpoint", step=11, **odd)
    ran(home, "newer", 9.0, "--method", "qlora")  # saved none; and a checkpoint is one to the disk
    found = planned(home, "checkpoints.every_steps=0")
    assert found["checkpoint_seconds"] == pytest.approx(found["checkpoint_bytes"] / 0.25e9)
    text = home.call("plan", "llama3-8b-lora", *FOUR).out
    assert "(0.25 GB/s, as in run saved), every 50 steps" in text


def test_runs_that_cannot_be_read_are_passed_over(home: Home) -> None:
    keep(home, Measured(across={"a100_40": rates(20.0)}))
    seconds = planned(home)["step"]["seconds"]
    ran(home, "broken", 2 * seconds)
    (home.runs / "broken/recipe.yaml").write_text("model: [")
    ran(home, "short", 2 * seconds)
    events = home.runs / "short/events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:3]))
    ran(home, "mad", 2 * seconds)
    (home.runs / "mad/events.jsonl").write_bytes(b'{"event": "step", "step": "x"}\n\xff\xfe\n' * 20)
    assert planned(home)["step"]["seconds"] == pytest.approx(seconds)


def test_the_record_is_read_back_as_it_was_written() -> None:
    record = Measured(inside={"h100": rates(200)}, across={"cpu": rates(0.02)})
    assert msgspec.json.decode(text_of(record), type=Measured) == record
