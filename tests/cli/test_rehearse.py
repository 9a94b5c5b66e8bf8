"""`hpclaunch rehearse`, for real: every stage with a small model and one's own data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import Home

ROWS = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(20)]


@pytest.fixture
def builder(home: Home, forked_trainings: dict[str, str]) -> Home:
    """A home that shares the machine's cache, where the builtin model lies."""
    return Home(
        home.folder, {"XDG_CACHE_HOME": str(Path("~/.cache").expanduser()), **forked_trainings}
    )


def data_in(home: Home, rows: list[dict[str, object]]) -> str:
    file = home.folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_the_whole_way(builder: Home) -> None:
    data = data_in(builder, [dict(row) for row in ROWS])
    words = ["tiny", "--dataset", data, "--method", "full", "--nodes", "2", "--cpu-processes", "4"]
    done = builder.call("rehearse", *words, timeout=400)
    assert done.code == 0, done.out + done.err
    lines = done.out.splitlines()
    names = ["plan", "model", "train and stop", "resume", "load back"]
    assert [line[6:22].strip() for line in lines[:-1]] == names
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert "full of builtin:tiny-llama on 2x4 processes" in lines[0]
    assert "stopped after step " in lines[2]
    assert " to 6 (" in lines[3]
    assert "Transformers loads the model" in lines[4]
    assert lines[-1].startswith("passed in ")
    assert not list(builder.runs.iterdir()), "a rehearsal that passed leaves nothing"


def test_what_would_break_is_named_with_its_stage(builder: Home) -> None:
    """LoRA's layers are seen to be missing where the model is loaded, and not before."""
    data = data_in(builder, [dict(row) for row in ROWS])
    words = ["tiny", "--dataset", data, "method.lora.target_modules=nowhere", "--json"]
    done = builder.call("rehearse", *words, "--cpu-processes", "1", "--processes", "1", timeout=400)
    assert done.code == 1, done.out + done.err
    found = json.loads(done.out)
    assert found["passed"] is False
    assert [stage["passed"] for stage in found["stages"]] == [True, True, False]
    assert "nowhere" in found["stages"][-1]["result"]
    assert (Path(found["folder"]) / "recipe.yaml").is_file(), "kept, to look into"


def test_a_plan_that_cannot_be_ends_it_there(builder: Home) -> None:
    done = builder.call("rehearse", "tiny", "--nodes", "0")
    assert done.code == 1
    assert done.out.splitlines()[0].startswith("FAIL  plan")
    assert not builder.runs.exists()


def test_a_program_of_ones_own_is_refused(builder: Home) -> None:
    done = builder.call("rehearse", "--", "train.py")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
