"""Many runs in a line each: what is wrong with one hides no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.cli import status
from hpclaunch.diagnose import listing
from hpclaunch.diagnose.listing import Summary, summaries
from hpclaunch.diagnose.state import run_state
from hpclaunch.run.events import attempt_spans
from hpclaunch.run.find import every
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.slurm.jobs import JobState
from tests.run.making import run_in


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(listing, "own_jobs", dict)
    monkeypatch.setattr(listing, "job_states", lambda _jobs: {})


def listed(runs: Path) -> dict[str, Summary]:
    return {run.name: run for run in summaries(every(runs))}


def events(folder: RunFolder, *marks: tuple[float, str, dict[str, Any]]) -> None:
    lines = [json.dumps({"time": time, "event": event, **more}) for time, event, more in marks]
    folder.events.write_text("\n".join(lines) + "\n")


def ended(folder: RunFolder, code: int, when: float) -> None:
    folder.exit_code_file.write_text(f"{code}\n")
    os.utime(folder.exit_code_file, (when, when))


def test_step_state_and_gpu_hours_over_all_attempts(tmp_path: Path) -> None:
    done = run_in(tmp_path / "done", device="gpu", nodes=1, server_nodes=1, processes_per_node=4)
    events(
        done,
        (0.0, "start", {}),
        (3600.0, "step", {"step": 5, "total": 10}),
        (9000.0, "start", {}),  # requeued: the time in the queue is no GPU time
        (10800.0, "step", {"step": 10, "total": 10}),
    )
    ended(done, 0, 12600.0)
    run = listed(tmp_path)["done"]
    assert (run.state, run.step, run.total) == ("done", 10, 10)
    assert run.gpu_hours == pytest.approx(8 * 2.0)


@pytest.mark.parametrize(
    ("device", "code", "hours"), [("cpu", 0, 0.0), ("gpu", 0, 4 * 0.5), ("gpu", None, None)]
)
def test_hours_of_a_program_of_ones_own(
    tmp_path: Path, device: str, code: int | None, hours: float | None
) -> None:
    own = run_in(
        tmp_path / "own", device=device, program=["x.py"], nodes=1, processes_per_node=4, job_id="9"
    )
    own.logs.mkdir(exist_ok=True)
    own.nodes.write_text("n1\n")
    os.utime(own.nodes, (1000.0, 1000.0))
    if code is not None:
        ended(own, code, 2800.0)
    assert listed(tmp_path)["own"].gpu_hours == hours, "not known is not 0"


def test_a_bad_folder_is_a_line_and_hides_no_other(tmp_path: Path) -> None:
    run_in(tmp_path / "bad").record.write_text("{")
    run_in(tmp_path / "newer").record.write_text('{"format": 99, "hpclaunch": "9.9"}')
    odd = run_in(tmp_path / "odd")
    odd.events.mkdir()
    odd.exit_code_file.write_bytes(b"\xff")
    ended(run_in(tmp_path / "good"), 3, 1.0)
    (tmp_path / "no-run").mkdir()
    found = listed(tmp_path)
    assert set(found) == {"bad", "newer", "odd", "good"}
    assert (found["bad"].state, found["newer"].state) == ("unknown", "unknown")
    assert "is damaged" in found["bad"].reason
    assert "written by hpclaunch 9.9" in found["newer"].reason
    assert found["good"].state == "failed"


def test_runs_that_cannot_be_read_are_not_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_path: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)
    (run,) = summaries(every(tmp_path))
    assert (run.state, run.reason) == ("unknown", f"{tmp_path} cannot be read: Permission denied")


def test_slurm_is_asked_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        run_in(tmp_path / f"r{number}", mode="sbatch", job_id=str(number))
    ended(RunFolder(tmp_path / "r0"), 0, 1.0)
    ended(RunFolder(tmp_path / "r1"), 1, 1.0)  # and submitted again by hand
    script = str(tmp_path / "r1/job.sbatch")
    queue = {"7": (JobState("PENDING", None, "Priority"), script), "2": (JobState("RUNNING"), "x")}
    asked: list[list[str]] = []

    def states(jobs: list[str]) -> dict[str, JobState]:
        asked.append(jobs)
        return {"3": JobState("TIMEOUT", 1)}

    monkeypatch.setattr(listing, "own_jobs", lambda: queue)
    monkeypatch.setattr(listing, "job_states", states)
    found = listed(tmp_path)
    assert {run.name: run.state for run in found.values()} == {
        "r0": "done", "r1": "queued", "r2": "running", "r3": "timed out",
    }  # fmt: skip
    assert found["r1"].job_id == "7"
    assert asked == [["3"]]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", []),
        ('{"time": 1, "event": "step"}\n', []),
        ('{"time": 1, "event": "start"}\n', [(1.0, 1.0)]),
        ('{"time": 1, "event": "start"}\nrubbish\n{"time": 5, "ev', []),
        ('{"time": 1, "event": "start"}\n{"time": 5, "event": "step"}\n{"ti', [(1.0, 5.0)]),
    ],
)
def test_attempts(tmp_path: Path, text: str, spans: list[tuple[float, float]]) -> None:
    (tmp_path / "events").write_text(text)
    assert attempt_spans(tmp_path / "events") == spans


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[RunFolder]:
    """A finished run, two of whose files the user who looks may not read."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent == tmp_path or parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    folder = run_in(tmp_path / "theirs", mode="local", pid=4194303, host=os.uname().nodename)
    ended(folder, 0, 1.0)
    events(folder, (1.0, "step", {"step": 3}))
    for path in (folder.exit_code_file, folder.events):
        path.chmod(0o000)
    import psutil  # noqa: F401 - later it may lie where that user may not look

    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(was)


def test_what_may_not_be_read_is_said_and_no_end_made_up(stranger: RunFolder) -> None:
    found = run_state(stranger, read_record(stranger))
    assert (found.state, found.reason) == ("unknown", f"{stranger.exit_code_file} may not be read")
    assert found.unreadable == (stranger.exit_code_file, stranger.events)
    assert found.progress.step is None


def test_lines_of_events_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    """Not the last one, which may be at work still."""
    folder = run_in(tmp_path / "one")
    events(folder, (1.0, "step", {"step": 3}), (2.0, "step", {"step": 4}))
    folder.events.write_bytes(b'{"time": 1, \xff\n\n' + folder.events.read_bytes() + b'{"ti')
    found = run_state(folder, read_record(folder))
    assert (found.damaged_events, found.progress.step) == (1, 4)
    assert "events.jsonl is damaged: 1 line cannot be read" in status._text(found, [], [])
