"""A submission whose disk is full at any write, or that is interrupted: no job is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.start import Submitted, submit
from hpclaunch.plan.resources import Resources
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, read_record
from tests.cli.running import Home

PAGE = 4096
MOST_PAGES = 100
"""A run folder takes fewer."""
SBATCH = """#!/bin/bash
case "$*" in *--test-only*) {tried} echo 'sbatch: Job 1 to start at now' >&2; exit 0;; esac
echo x >>{calls}
{more}
echo 4711
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs with two megabytes of room."""
    folder = tmp_path / "runs"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def with_slurm(home: Home, more: str = "", tried: str = "") -> Path:
    """Give a home Slurm's commands; return the file that the submissions are counted in."""
    programs, calls = home.bare_path(), home.folder / "calls"
    texts = dict.fromkeys(("scontrol", "sacct", "srun"), "#!/bin/bash\nexit 1\n")
    texts |= {
        "sbatch": SBATCH.format(calls=calls, more=more, tried=tried),
        "squeue": "#!/bin/bash\n",
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return calls


def test_a_full_disk_at_any_write(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(disk.parent)
    calls = with_slurm(home)
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(disk / "state"))
    monkeypatch.chdir(home.folder)
    resources = Resources(cpu_processes=1)
    job = draft(Request(recipe="tiny", resources=resources, name="one", runs_dir=disk), {})
    said = set()
    folder = RunFolder(disk / "one")
    for pages in range(MOST_PAGES):
        outcome = attempt(job, None, pages, calls)
        assert not list(disk.glob(".*.unfinished-*"))
        if outcome == "refused":
            assert not folder.root.exists()
        said.add(outcome)
        if outcome == "submitted":
            break
        shutil.rmtree(folder.root, ignore_errors=True)
    assert said == {"refused", "told", "submitted"}

    folder.job_file.write_text("4711\n")
    before = read_record(folder)
    again = redraft(folder, before, changes={"time": "9:00:00"}, variables={})
    said = set()
    for pages in range(MOST_PAGES):
        before = msgspec.structs.replace(before, job_id=None)
        outcome = attempt(again, before, pages, calls)
        assert read_record(folder).name == "one", "whole, old or new"
        left = {path.name for path in folder.root.glob(".*")}
        assert left <= {".pending.json", ".lock", ".lease"}, "no file half written"
        said.add(outcome)
        if outcome == "submitted":
            break
    assert said >= {"refused", "submitted"}


def attempt(job: Job, before: Record | None, pages: int, calls: Path) -> str:
    """Submit with so many pages free: refused, or told that the job is queued, or submitted."""
    disk = job.plan.launch.folder.parent
    calls.unlink(missing_ok=True)
    room = os.statvfs(disk).f_bavail - pages
    (disk / "filler").write_bytes(b"x" * room * PAGE)
    try:
        made: Submitted = submit(job, before, data=lambda _: None)
    except JobFailed as error:
        assert calls.exists()
        assert "job 4711 is in the queue" in str(error)
        assert "scancel 4711" in str(error)
        assert read_record(RunFolder(job.plan.launch.folder)).job_id is None
        return "told"
    except UserError as error:
        assert "cannot be written: No space left on device" in str(error)
        assert not calls.exists(), "a job is in the queue, and its number is said nowhere"
        return "refused"
    finally:
        (disk / "filler").unlink()
    assert read_record(made.folder).job_id == "4711"
    return "submitted"


@pytest.mark.parametrize(
    ("more", "said", "known"),
    [
        ("kill -INT $PPID; sleep 0.2", "interrupted; job 4711 is in the queue", "4711"),
        (
            "kill -TERM $PPID; sleep 0.2; kill -INT $PPID; sleep 20",
            "interrupted before Slurm said whether it took the job; look with 'squeue --me'",
            None,
        ),
    ],
)
def test_an_interruption_while_slurm_takes_the_job(
    tmp_path: Path, more: str, said: str, known: str | None
) -> None:
    home = Home(tmp_path)
    calls = with_slurm(home, more)
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", "--name", "one", timeout=15)
    assert calls.exists()
    assert (done.code, done.err.count("Traceback")) == (130, 0), done
    assert said in done.err
    assert read_record(RunFolder(home.runs / "one")).job_id == known


def test_an_interruption_between_two_stages(tmp_path: Path) -> None:
    home = Home(tmp_path)
    calls = home.folder / "calls"
    with_slurm(home, tried=f"[ ! -e {calls} ] || {{ kill -INT $PPID; sleep 20; }};")
    words = ["--cpu-processes", "1", "--name", "one", "--then", "merge", "method.kind=lora"]
    done = home.call("sbatch", "tiny", *words, timeout=15)
    assert done.code == 130, done
    assert "interrupted; in the queue are 4711 (train); cancel them: scancel 4711" in done.err
    (run,) = home.runs.glob("*/job.sbatch")
    assert read_record(RunFolder(run.parent)).job_id == "4711"


def test_a_pipeline_whose_jobs_cannot_be_taken_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    calls = home.folder / "calls"
    with_slurm(home, f"[ \"$(<{calls})\" = x ] || {{ echo 'sbatch: error: no' >&2; exit 1; }}")
    words = ["--cpu-processes", "1", "--name", "one", "--then", "merge", "method.kind=lora"]
    done = home.call("sbatch", "tiny", *words, timeout=15)  # there is no scancel
    assert done.code == 1, done
    assert "merge: Slurm refuses this job" in done.err
    assert "in the queue are still 4711, which scancel did not take out" in done.err
    (run,) = home.runs.glob("*/job.sbatch")
    assert read_record(RunFolder(run.parent)).job_id == "4711"
