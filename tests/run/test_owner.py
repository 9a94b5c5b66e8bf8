"""What is another user's is read, and not acted on."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.find import find
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.owner import require_own
from hpclaunch.run.record import write_record
from tests.cli.running import Home
from tests.run.making import record, run_in

NOBODY = 65534


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A runs folder with a run of mine and a newer one of another user."""
    run_in(tmp_path / "runs/mine", created=1.0)
    run_in(tmp_path / "runs/theirs", created=2.0)
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    for path in (tmp_path / "runs/theirs", tmp_path / "runs/theirs/run.json"):
        os.chown(path, NOBODY, -1)
    return tmp_path / "runs"


def test_anothers_run_is_read_and_not_the_newest(theirs: Path) -> None:
    assert find(None, theirs)[1].name == "mine"
    assert find("theirs", theirs)[1].name == "theirs"


def test_another_who_claims_my_job_does_not_take_its_number(theirs: Path) -> None:
    for name, created in (("mine", 1.0), ("theirs", 2.0)):
        write_record(RunFolder(theirs / name), record(created=created, job_id="41"))
    os.chown(theirs / "theirs/run.json", NOBODY, -1)
    assert find("41", theirs)[1].name == "mine"


@pytest.mark.parametrize("action", ["resume", "cancel", "stop"])
def test_no_command_acts_on_it(theirs: Path, action: str) -> None:
    done = Home(theirs.parent).call(action, "theirs")
    assert done.code == 2
    assert f"belongs to nobody: it is not yours to {action}" in done.err
    assert Home(theirs.parent).call("status", "theirs").code == 0


def test_no_command_acts_on_a_group_of_hers_that_names_my_run(theirs: Path) -> None:
    stage = {"name": "a", "run": "mine", "kind": "recipe", "after": []}
    pipeline = {"created": 1.0, "command": [], "mode": "local", "file": "/evil.yaml"}
    sweep = {"created": 1.0, "command": [], "parallel": 1, "parameters": {}}
    for name, file, content in (
        ("chain", "pipeline.json", pipeline | {"stages": [stage]}),
        ("many", "sweep.json", sweep | {"runs": [{"name": "mine", "values": {}}]}),
    ):
        (theirs / name).mkdir()
        (theirs / name / file).write_text(json.dumps(content))
        os.chown(theirs / name, NOBODY, -1)
    home = Home(theirs.parent)
    before = home.files()
    for words in (
        ("resume", "chain"), ("cancel", "chain"), ("cancel", "many"),
        ("sweep", "--resubmit", "many"),
    ):  # fmt: skip
        done = home.call(*words)
        assert done.code == 2
        assert f"it is not yours to {words[0] if words[0] != 'sweep' else 'resubmit'}" in done.err
    assert "mine" in home.call("status", "chain").out
    assert home.files() == before
    # A copy that I made by hand is mine, and my run is still none of it.
    os.chown(theirs / "many", os.geteuid(), -1)
    for command in ("cancel many", "sweep --resubmit many"):
        assert "mine is no run of many" in home.call(*command.split()).err


def test_the_runs_of_a_copied_group_are_not_the_originals(tmp_path: Path) -> None:
    run_in(tmp_path / "runs/many.1", group="many")
    sweep = {"name": "many", "created": 1.0, "command": [], "parallel": 1, "parameters": {}}
    (tmp_path / "runs/many").mkdir()
    (tmp_path / "runs/many/sweep.json").write_text(
        json.dumps(sweep | {"runs": [{"name": "many.1", "values": {}}]})
    )
    shutil.copytree(tmp_path / "runs/many", tmp_path / "runs/copy")
    home = Home(tmp_path)
    assert "copy is a copy of many; " not in home.call("cancel", "many").err
    assert (
        "copy is a copy of many, and its runs are those of many" in home.call("cancel", "copy").err
    )
    (tmp_path / "runs/many").rename(tmp_path / "old")
    assert "no run of copy waits or runs" in home.call("cancel", "copy").err, "a renamed one"


def test_a_record_of_anothers_in_a_folder_of_mine(theirs: Path) -> None:
    os.chown(theirs / "mine/run.json", NOBODY, -1)
    folder, _ = find("mine", theirs)
    with pytest.raises(UserError, match=r"run\.json belongs to nobody"):
        require_own(folder, "resume")


def test_a_time_in_the_future_makes_nobody_newest(tmp_path: Path) -> None:
    run_in(tmp_path / "late", created=1e308)
    run_in(tmp_path / "now", created=time.time())
    assert find(None, tmp_path)[1].name == "now"
