"""What `hpclaunch adopt` takes of another's run, and what it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record, write_record
from hpclaunch.slurm import commands
from tests.cli.running import Home
from tests.run.test_owner import NOBODY

SECRET = "what only I may read"


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of another user, with a checkpoint, weights, and things that ought not to be there."""
    monkeypatch.setattr(commands, "available", lambda: False)
    (tmp_path / "secret.json").write_text(SECRET)
    (tmp_path / "evil-tasks").mkdir()
    shared = tmp_path / "shared"
    job = draft(
        Request(
            mode="local",
            recipe="tiny",
            resources=Resources(cpu_processes=1, account="theirs", port=4711),
            name="good-run",
            runs_dir=shared,
            overrides=(
                "checkpoints.sync_to=s3://theirs/copies",
                "training.seed=7",
                f"evaluate.tasks_dir={tmp_path}/evil-tasks",
                "evaluate.every=checkpoint",
                "evaluate.tasks=[arc]",
                "tracking.mlflow.enabled=true",
                "tracking.mlflow.uri=http://theirs.example",
            ),
        ),
        {},
    )
    folder = write_folder(job).folder
    for name, files in (("step-4", ("old.json",)), ("step-12", ("a.safetensors", "manifest.json"))):
        (folder.checkpoints / name).mkdir(parents=True)
        for file in files:
            (folder.checkpoints / name / file).write_text(name)
    newest = folder.checkpoints / "step-12"
    (newest / "optimizer.bin").write_text("pickle")
    (newest / "run.py").write_text("print('evil')")
    (newest / "link.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(newest / "pipe.json")
    (newest / "inner").symlink_to(tmp_path)
    folder.final.mkdir()
    (folder.final / "adapter_model.safetensors").write_text("weights")
    folder.events.write_text('{"time": 1, "event": "step", "step": 12, "total": 20}\n')
    folder.launch_functions.write_text("echo evil\n")
    with folder.script.open("a") as script:
        script.write("echo evil\n")
    return folder


def rewrite(folder: RunFolder, **changes: Any) -> None:
    write_record(folder, msgspec.structs.replace(read_record(folder), **changes))


def give_away(folder: RunFolder) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    for path in (folder.root, *folder.root.rglob("*")):
        os.chown(path, NOBODY, -1, follow_symlinks=False)


def test_what_is_taken_and_what_is_not(theirs: RunFolder, tmp_path: Path) -> None:
    rewrite(theirs, python="/evil/venv", modules=["evil"])
    give_away(theirs)
    before = {path: path.lstat().st_mtime_ns for path in theirs.root.rglob("*")}
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    refused = home.call("resume", str(theirs.root))
    assert refused.code == 2
    assert f"take a copy of your own: hpclaunch adopt {theirs.root}" in refused.err

    done = home.call("adopt", str(theirs.root))
    assert done.code == 0, done.err
    mine = RunFolder(home.runs / "good-run")
    assert done.out == f"adopted good-run: {mine.root}\n"
    for word in (
        "Python /evil/venv", "modules evil", "s3://theirs/copies", "optimizer.bin", "run.py",
        "link.json", "pipe.json", "evil-tasks", "evaluate.every", "http://theirs.example",
    ):  # fmt: skip
        assert word in done.err, word
    assert "go on with it from step-12: hpclaunch resume good-run" in done.err
    assert before == {path: path.lstat().st_mtime_ns for path in theirs.root.rglob("*")}

    files = {str(path.relative_to(mine.root)) for path in mine.root.rglob("*") if path.is_file()}
    assert {name for name in files if name.startswith(("checkpoints", "final"))} == {
        "checkpoints/step-12/a.safetensors",
        "checkpoints/step-12/manifest.json",
        "final/adapter_model.safetensors",
    }
    assert mine.events.read_bytes() == theirs.events.read_bytes()
    assert all(path.owner() == tmp_path.owner() for path in mine.root.rglob("*"))
    for path in mine.root.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert SECRET not in text
            assert "evil" not in text.replace(str(theirs.root), ""), path
    record = read_record(mine)
    assert (record.program, record.modules, record.job_id, record.pid) == ([], [], None, None)
    assert (record.resources["cpu_processes"], record.resources["account"]) == (1, None)
    recipe = mine.recipe.read_text()
    assert "seed: 7" in recipe
    assert "s3://" not in recipe
    assert "every: null" in recipe and "tasks_dir: null" in recipe and "uri: null" in recipe
    assert home.call("status", "good-run").code == 0


def test_reward_functions_are_code_and_not_taken_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    (tmp_path / "evil.py").write_text("def f(completions, **kwargs): ...\n")
    words = (f"method.grpo.rewards=[{tmp_path}/evil.py:f]", "training.reward_weights=null")
    request = Request(
        mode="local", recipe="grpo", resources=Resources(cpu_processes=1), name="theirs",
        runs_dir=tmp_path / "shared", overrides=words,
    )  # fmt: skip
    folder = str(write_folder(draft(request, {})).folder.root)
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    refused = home.call("adopt", folder)
    assert refused.code == 2
    assert f"runs reward functions of its owner's: {tmp_path}/evil.py:f" in refused.err
    assert not home.runs.exists() or not list(home.runs.iterdir())
    own = "method.grpo.rewards=[builtin:rewards.py:short]"
    assert home.call("adopt", folder, own, "--name", "own").code == 0
    assert b"def f(" not in (home.runs / "own/rewards/rewards.py").read_bytes()
    taken = home.call("adopt", folder, "--with-program")
    assert taken.code == 0, taken.err
    assert f"taken, and run as you: reward functions {tmp_path}/evil.py:f" in taken.err


def test_no_secret_is_written_into_the_adopted_run(theirs: RunFolder, tmp_path: Path) -> None:
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    done = home.call("adopt", str(theirs.root), f"training.run_name=hf_{'a1B2' * 8}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "a secret ('hf_a...') stands in the command" in done.err
    assert not home.runs.exists() or not list(home.runs.iterdir())


def test_a_program_is_taken_only_where_it_is_asked_for(theirs: RunFolder, tmp_path: Path) -> None:
    rewrite(theirs, program=["/evil/train.py", "--fast"])
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    refused = home.call("adopt", str(theirs.root))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "runs a program of its owner's: /evil/train.py --fast" in refused.err
    assert "--with-program" in refused.err
    assert not home.runs.exists() or not list(home.runs.iterdir())
    (tmp_path / "train.py").write_text("")
    rewrite(theirs, program=[str(tmp_path / "train.py")])
    done = home.call("adopt", str(theirs.root), "--with-program", "--name", "mine", "--json")
    assert done.code == 0, done.err
    assert f"taken, and run as you: program {tmp_path}/train.py" in done.err
    assert json.loads(done.out)["name"] == "mine"
    assert read_record(RunFolder(home.runs / "mine")).program == [str(tmp_path / "train.py")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no run is named"),
        (["{run}", "method.kind=full"], "method.kind cannot be changed"),
        (["{run}", "model.revision=x"], "model.revision cannot be changed"),
        (["{run}", "data.name=/nowhere.jsonl"], "dataset not found: /nowhere.jsonl"),
    ],
)
def test_what_is_refused_leaves_nothing(
    theirs: RunFolder, tmp_path: Path, words: list[str], message: str
) -> None:
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    done = home.call("adopt", *[word.format(run=theirs.root) for word in words])
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
    assert not home.runs.exists()


@pytest.mark.parametrize("kind", ["fifo", "link to a device", "folder"])
def test_a_recipe_that_is_no_plain_file(theirs: RunFolder, tmp_path: Path, kind: str) -> None:
    theirs.recipe.unlink()
    if kind == "fifo":
        os.mkfifo(theirs.recipe)
    elif kind == "folder":
        theirs.recipe.mkdir()
    else:
        theirs.recipe.symlink_to("/dev/zero")
    home = Home(tmp_path / "me")
    home.folder.mkdir()
    done = home.call("adopt", str(theirs.root), timeout=30)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert str(theirs.recipe) in done.err
