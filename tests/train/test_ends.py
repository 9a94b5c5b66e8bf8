"""How a training ends when it is not simply done: asked to stop, failing, or never begun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.run.events import newest, read_events
from hpclaunch.train.prepare import prepare, prepare_from_cache
from tests.train.conftest import question, short, train, write_jsonl
from tests.train.running import events_of, launch, launch_real, make_run, program
from tests.train.weights import adapter_of

pytestmark = pytest.mark.train

WATCH = """
import os, pathlib, signal
def catch_fire(*_, **__):
    raise RuntimeError('a board caught fire')
def look(*_):
    events = pathlib.Path({events!r})
    if events.exists() and '"step": 2' in events.read_text():
        signal.setitimer(signal.ITIMER_REAL, 0)
        {action}
if os.environ.get("RANK") == "{rank}":
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
"""
"""Lets one rank do something once the second step is marked. Python reads it at its start."""


def after_two_steps(folder: Path, events: Path, rank: int, action: str) -> str:
    """Return a PYTHONPATH that makes `rank` do `action` after the second step."""
    folder.mkdir()
    text = WATCH.format(events=str(events), rank=rank, action=action)
    (folder / "sitecustomize.py").write_text(text, "utf-8")
    return str(folder)


def test_a_training_shorter_than_its_logging_steps_has_losses(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    overrides = [*short(tiny, rows, steps=4), "training.logging_steps=100"]
    done = train(tmp_path / "run", overrides, processes=1)
    assert done.outcome.code == 0, done.outcome.said
    steps = events_of(done.folder, "step")
    assert [event["step"] for event in steps] == [1, 4], "the first and the last"
    assert all(event["loss"] > 0 for event in steps)


def test_a_stop_file_ends_the_run_with_a_checkpoint_and_weights(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    overrides = [*short(tiny, rows, steps=300), "checkpoints.every_steps=0"]
    folder = make_run(tmp_path / "run", overrides)
    touch = f"pathlib.Path({str(folder.stop_request)!r}).write_text('enough for today')"
    path = after_two_steps(tmp_path / "site", folder.events, 0, touch)
    outcome = launch(folder, 2, PYTHONPATH=path)
    assert outcome.code == 0, outcome.said
    (stop,) = events_of(folder, "stop")
    assert stop["why"] == "enough for today"
    assert 2 <= stop["step"] < 300
    end = newest(read_events(folder.events), "end")
    assert end is not None
    assert (end["step"], end["outcome"]) == (stop["step"], "stopped")
    assert [p.name for p in folder.checkpoints.iterdir()] == [f"step-{stop['step']}"]
    assert adapter_of(folder)
    assert f"stopping after step {stop['step']}/300: enough for today" in outcome.out


def test_a_failing_rank_leaves_its_error_and_the_run_its_code(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", short(tiny, rows, steps=300))
    # At a step's end, and not from within the signal: there it could leave any lock held.
    fail = "import hpclaunch.train.stop as stop; stop.StopInTime.on_step_end = catch_fire"
    path = after_two_steps(tmp_path / "site", folder.events, 1, fail)
    outcome = launch_real(folder, 2, PYTHONPATH=path)
    assert outcome.code != 0
    error = json.loads(folder.rank_error(1).read_text("utf-8"))
    assert error["error"] == "RuntimeError: a board caught fire"
    assert (error["rank"], error["local_rank"], error["collateral"]) == (1, 1, False)
    assert "catch_fire" in error["traceback"] and error["host"] and error["time"] > 1e9
    assert outcome.err.count("RuntimeError: a board caught fire") == 1, "said once"
    if folder.rank_error(0).exists():  # else the launcher ended it before it noticed
        other = json.loads(folder.rank_error(0).read_text("utf-8"))
        assert other["collateral"] and other["time"] >= error["time"]
    assert newest(read_events(folder.events), "end") is None


def test_a_start_whose_folder_is_anothers_ends_and_leaves_no_trace(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    overrides = [*short(tiny, rows, steps=300), "checkpoints.every_steps=0"]
    folder = make_run(tmp_path / "run", overrides)
    folder.attempt_file.write_text("8.0\n")
    again = f"pathlib.Path({str(folder.attempt_file)!r}).write_text('8.1')"
    path = after_two_steps(tmp_path / "site", folder.events, 0, again)
    outcome = launch(folder, 2, PYTHONPATH=path, HPCLAUNCH_START="8.0")
    assert outcome.code != 0
    assert "a later attempt uses this folder" in outcome.out
    assert folder.rank_errors() == []
    assert not list(folder.checkpoints.glob("step-*")) and not folder.final.exists()
    assert newest(read_events(folder.events), "end") is None


def test_what_the_recipe_gets_wrong_is_one_line_without_a_traceback(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    overrides = [*short(tiny, rows), "training.packing=true", "training.max_length=null"]
    done = train(tmp_path / "run", overrides, processes=1)
    ours = [line for line in done.outcome.err.splitlines() if "hpclaunch: " in line]
    assert len(ours) == 1 and "training.packing" in ours[0]
    assert "hpclaunch/train" not in done.outcome.err, "no traceback of ours"
    assert json.loads(done.folder.rank_error(0).read_text("utf-8"))["error"]


CANNOT_BE = [
    (["data.name=BAD"], "BAD:3: not valid JSON"),
    (["model.attention=flash_attention_2"], "flash_attention_2 needs a GPU"),
    (["training.packing=true", "training.max_length=null"], "training.packing needs rows of a"),
    (["training.max_length=4"], "no token to learn from"),
    (["tracking.wandb.enabled=true"], "wandb"),
]
ABSENT = [
    (["model.name=owner/absent"], "model owner/absent is not on this machine"),
    (["data.name=owner/absent"], "dataset owner/absent is not on this machine"),
]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Return a file whose third line is cut off."""
    path = write_jsonl(tmp_path / "bad.jsonl", [{"text": question(n)[0]} for n in range(2)])
    path.write_text(path.read_text("utf-8") + '{"text": "x"\n', "utf-8")
    return path


@pytest.mark.parametrize(("overrides", "said"), CANNOT_BE)
def test_what_cannot_be_is_said_before_any_rank_starts(
    tiny: Path, rows: Path, tmp_path: Path, bad: Path, overrides: list[str], said: str
) -> None:
    changes = [word.replace("BAD", str(bad)) for word in overrides]
    folder = make_run(tmp_path / "run", [*short(tiny, rows), *changes])
    with pytest.raises(UserError) as raised:
        if not prepare_from_cache(folder, load(str(folder.recipe))):
            prepare(folder, load(str(folder.recipe)))
    assert said.replace("BAD", str(bad)) in str(raised.value)
    assert raised.value.fix and "\n" not in str(raised.value)


@pytest.mark.parametrize(("overrides", "said"), [CANNOT_BE[0], *ABSENT])
def test_prepare_says_it_in_one_line_and_ends_with_2(
    tiny: Path, rows: Path, tmp_path: Path, bad: Path, overrides: list[str], said: str
) -> None:
    changes = [word.replace("BAD", str(bad)) for word in overrides]
    folder = make_run(tmp_path / "run", [*short(tiny, rows), *changes])
    outcome = program("hpclaunch.train.prepare", str(folder.root))
    assert outcome.code == 2, outcome.said
    assert outcome.err.count("\n") == 1, outcome.err
    assert said.replace("BAD", str(bad)) in outcome.err
    assert outcome.out == ""


def test_prepare_forgets_an_earlier_attempts_errors(tiny: Path, rows: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", short(tiny, rows))
    folder.rank_error(3).write_text("{}", "utf-8")
    outcome = program("hpclaunch.train.prepare", str(folder.root))
    assert outcome.code == 0, outcome.said
    assert folder.rank_errors() == []
    assert "32 samples" in outcome.out and outcome.err == ""


def test_sample_shows_before_and_after(tiny: Path, rows: Path, tmp_path: Path) -> None:
    overrides = [
        *short(tiny, rows, steps=60),
        "method.kind=full",
        "training.learning_rate=3e-3",
        "checkpoints.every_steps=0",
        "data.limit=1",
        "training.per_device_train_batch_size=1",
    ]
    done = train(tmp_path / "run", overrides, processes=1)
    assert done.outcome.code == 0, done.outcome.said
    first = program("hpclaunch.train.sample", str(done.folder.root), "--tokens", "12")
    assert first.code == 0, first.said
    prompt, before, after = (
        first.out.split("\nbefore\n")[0],
        first.out.split("\nbefore\n")[1].split("\nafter\n")[0].strip(),
        first.out.split("\nafter\n")[1].split("\nexpected\n")[0].strip(),
    )
    asked, answer = question(0)
    assert first.out.split("\nexpected\n")[1].strip() == answer
    assert prompt.split() == ["prompt", *asked.split()]
    assert after == answer != before
    again = program(
        "hpclaunch.train.sample",
        str(done.folder.root),
        "--tokens",
        "12",
        "--prompt",
        asked,
        "--next",
    )
    assert again.out.startswith(first.out.split("\nexpected\n")[0])
    following = again.out.split("\nNext:\n")[1]
    assert following.count(str(done.folder.root)) == 1 and "hpclaunch plan" in following


def test_sample_without_weights_says_so(tmp_path: Path, tiny: Path, rows: Path) -> None:
    folder = make_run(tmp_path / "run", short(tiny, rows))
    outcome = program("hpclaunch.train.sample", str(folder.root))
    assert outcome.code == 2
    assert "has no final weights" in outcome.err and outcome.err.count("\n") == 1
