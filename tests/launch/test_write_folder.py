"""Names of runs that start at once, and what a person edited in a run that goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.hand_edits import find_edits
from hpclaunch.launch.request import Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.write_folder import Written, rewrite_folder, write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.run.find import index_file, index_problem
from hpclaunch.run.record import read_record, write_record
from hpclaunch.slurm import commands


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def request(**changes: Any) -> Request:
    fields: dict[str, Any] = {"recipe": "tiny", "resources": Resources(cpu_processes=1)}
    return Request(**(fields | changes))


def test_runs_that_start_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    drafted = [draft(request(), {}) for _ in range(5)]
    assert {job.plan.launch.name for job in drafted} == {"tiny-1"}
    written = [write_folder(job) for job in drafted]
    names = [f"tiny-{number}" for number in range(1, 6)]
    assert [each.record.name for each in written] == names
    for name, (job, folder, _) in zip(names, written, strict=True):
        assert folder.root == tmp_path / "runs" / name
        script = folder.script.read_text()
        assert f"#SBATCH --job-name={name}\n" in script
        assert f"export HPCLAUNCH_RUN={folder.root}\n" in script
        assert script == job.script


def test_a_name_that_a_person_gave_is_not_changed() -> None:
    job = draft(request(name="mine"), {})
    write_folder(job)
    with pytest.raises(UserError, match="run 'mine' exists already"):
        write_folder(job)


def edited(edit: str = "#SBATCH --nodes=1\n#SBATCH --exclude=node1") -> Written:
    made = write_folder(draft(request(name="one"), {}))
    script = made.folder.script.read_text()
    assert "#SBATCH --nodes=1\n" in script
    made.folder.script.write_text(script.replace("#SBATCH --nodes=1", edit))
    return made


def again(made: Written, **changes: Any) -> tuple[str | None, Written]:
    """Go on with the run; gives what is said of its edits too."""
    record = read_record(made.folder)
    command = ("hpclaunch", "resume", "one")
    job = redraft(made.folder, record, changes=changes, command=command, variables={})
    message = find_edits(made.folder, record, job).message()
    return message, rewrite_folder(job, record)


def test_edits_stay_where_nothing_else_changes() -> None:
    made = edited()
    for _ in range(2):
        message, after = again(made)
        assert message == "edited by hand and kept as it is: job.sbatch"
        assert "#SBATCH --exclude=node1\n" in made.folder.script.read_text()
        assert "#SBATCH --exclude=node1\n" in after.job.script, "what Slurm tries, too"


def test_edits_are_set_aside_where_the_job_changes() -> None:
    made = edited()
    message, _ = again(made, time="9:00:00")
    assert message is not None
    assert "job.sbatch; yours are kept beside it as NAME.edited" in message
    assert "--time=9:00:00" in made.folder.script.read_text()
    assert "--exclude" not in made.folder.script.read_text()
    kept = made.folder.script.with_name("job.sbatch.edited").read_text()
    assert "#SBATCH --exclude=node1\n" in kept


@pytest.mark.parametrize("name", ["launch.sh", "node.sh", "accelerate.yaml"])
def test_other_files_of_the_job_too(name: str) -> None:
    made = edited("#SBATCH --nodes=1")
    assert again(made)[0] is None, "another command started it: no edit"
    with (made.folder.root / name).open("a") as stream:
        stream.write("# mine\n")
    assert again(made)[0] == f"edited by hand and kept as it is: {name}"
    assert (made.folder.root / name).read_text().endswith("# mine\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_script_that_another_put_there_is_not_kept() -> None:
    """As a member of the group may, where the folder's mode lets it."""
    made = edited()
    os.chown(made.folder.script, 65534, -1)
    with pytest.raises(UserError, match=r"job\.sbatch belongs to nobody: it is not yours to run"):
        again(made)


def test_a_run_that_an_earlier_version_wrote_goes_on() -> None:
    from msgspec import structs

    made = edited()
    write_record(made.folder, structs.replace(made.record, files={}, static_scripts={}))
    assert again(made)[0] is None


def test_a_list_of_runs_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    made = write_folder(draft(request(name="one"), {}))
    assert index_problem(made.folder) is None
    index_file().unlink()
    index_file().mkdir()  # as a full home would, it keeps the run out
    problem = index_problem(write_folder(draft(request(name="two"), {})).folder)
    assert problem is not None
    assert f"elsewhere, name the run by its folder {tmp_path}/runs/two" in problem
