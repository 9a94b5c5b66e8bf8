"""Two real users of one cluster try it on each other: `eve` leaves traps, `me` types commands.

Their jobs are held in the queue: none of this needs one to run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.accounts import Account, python_for_all
from tests.slurm.cluster import ThrowawayCluster

pytestmark = pytest.mark.slurm

SUBMIT = ("sbatch", "--cpu-processes", "1", "--cpus", "1", "--sbatch-arg=--hold", "--name")
SECRET = "only-i-may-read-this"


@dataclass(frozen=True)
class Two:
    """Both of them, each with a run whose job waits."""

    me: Account
    eve: Account
    shared: Path
    """A folder that everybody may write to, as /scratch is."""

    @property
    def mine(self) -> Path:
        """The folder of my run."""
        return self.me.home / "runs/mine"

    @property
    def hers(self) -> Path:
        """The folder of her run."""
        return self.eve.home / "runs/hers"


@pytest.fixture(scope="module")
def two(slurm: ThrowawayCluster) -> Iterator[Two]:
    """Two users; not below pytest's own folder, which is closed to others."""
    python = python_for_all()
    if python is None:
        pytest.skip("no Python here that every user may run, and that reads this checkout")
    top = Path(tempfile.mkdtemp(prefix="two-users-"))
    top.chmod(0o755)
    shared = top / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    accounts = []
    for name, account in (("me", "nobody"), ("eve", "games")):
        home = top / name
        home.mkdir(mode=0o755)
        made = Account(slurm, account, home, python)
        os.chown(home, *made.ids)
        accounts.append(made)
    both = Two(accounts[0], accounts[1], shared)
    try:
        for who, run in ((both.me, "mine"), (both.eve, "hers")):
            done = who.hpclaunch(*SUBMIT, run, "--", "bash", "-c", "true")
            assert done.returncode == 0, done.stderr
        yield both
    finally:
        slurm.run("scancel", "--user=nobody")
        slurm.run("scancel", "--user=games")
        shutil.rmtree(top, ignore_errors=True)


def job_of(folder: Path) -> str:
    job: str = json.loads((folder / "run.json").read_text())["job_id"]
    return job


def waits(two: Two, folder: Path) -> bool:
    return two.me.cluster.job_state(job_of(folder)).state == "PENDING"


def listing(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def forged(two: Two, name: str, **changes: Any) -> Path:
    """A copy of her run with other values in its record."""
    folder = two.eve.home / "runs" / name
    shutil.copytree(two.hers, folder)
    record = json.loads((folder / "run.json").read_text()) | {"folder": str(folder)} | changes
    two.eve.write(folder / "run.json", json.dumps(record))
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *two.eve.ids)
    return folder


def test_her_run_is_read_and_not_acted_on(two: Two) -> None:
    before = listing(two.hers)
    for command in ("status", "why"):
        assert "Traceback" not in two.me.hpclaunch(command, str(two.hers)).stderr
    assert two.me.hpclaunch("status", str(two.hers)).stdout.startswith("run  ")
    for command in ("resume", "cancel", "stop"):
        done = two.me.hpclaunch(command, str(two.hers))
        assert done.returncode == 2
        assert f"hpclaunch adopt {two.hers}" in done.stderr
    assert listing(two.hers) == before
    assert waits(two, two.hers)


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_of_hers_that_names_my_job_ends_nothing_of_mine(two: Two, copied: bool) -> None:
    folder = forged(two, f"names-my-job-{copied}", job_id=job_of(two.mine))
    if copied:
        target = two.me.home / "taken"
        assert two.me.run("cp", "-r", str(folder), str(target)).returncode == 0
        folder = target
        record = json.loads((folder / "run.json").read_text()) | {"folder": str(folder)}
        two.me.write(folder / "run.json", json.dumps(record))
    done = two.me.hpclaunch("cancel", str(folder))
    assert done.returncode == 2, done
    assert waits(two, two.mine)


def test_a_run_of_hers_that_names_my_process_does_not_end_it(two: Two) -> None:
    user, group = two.me.ids
    process = subprocess.Popen(["sleep", "60"], user=user, group=group, extra_groups=[])
    try:
        folder = forged(
            two, "names-my-process", mode="local", pid=process.pid, host=os.uname().nodename,
            job_id=None,
        )  # fmt: skip
        target = two.me.home / "process"
        two.me.run("cp", "-r", str(folder), str(target))
        for each in (folder, target):
            assert two.me.hpclaunch("cancel", str(each)).returncode == 2
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_her_program_and_python_do_not_run_as_me(two: Two) -> None:
    """Neither when her run is adopted, nor by what lies in her folder, where I stand."""
    proof = two.shared / "ran-as"
    trap = f"#!/bin/sh\nid -un >>{proof}\n"
    venv = two.eve.home / "venv"
    for name in ("python", "python3", "activate"):
        two.eve.write(venv / "bin" / name, trap).chmod(0o755)
    proof_in_python = f"import os\nos.system('id -un >>{proof}')\n"
    done = two.eve.hpclaunch(*SUBMIT[:-1], "--name", "trap", "--no-submit", "tiny")
    assert done.returncode == 0, done.stderr
    folder = two.eve.home / "runs/trap"
    record = json.loads((folder / "run.json").read_text())
    record |= {"python": str(venv), "modules": ["evil"], "program": []}
    two.eve.write(folder / "run.json", json.dumps(record))
    for module in ("json", "torch", "click", "yaml"):
        two.eve.write(folder / module / "__init__.py", proof_in_python)
    two.eve.write(folder / "job.sbatch", trap)

    refused = two.me.hpclaunch("adopt", str(two.hers))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "runs a program of its owner's" in refused.stderr
    there = replace(two.me, home=folder)  # where I stand; HOME is hers then, too
    for command in (["status", str(folder)], ["why", str(folder)], ["ls"]):
        assert there.hpclaunch(*command).returncode in {0, 1}
    adopted = two.me.hpclaunch("adopt", str(folder))
    assert adopted.returncode == 0, adopted.stderr
    mine = two.me.home / "runs/trap"
    script = (mine / "job.sbatch").read_text()
    assert str(two.eve.home) not in script.replace(f"adopt {folder}", "")
    assert "evil" not in script
    assert mine.owner() == two.me.name
    assert not proof.exists()


def test_my_script_that_she_submits_changes_nothing_of_mine(two: Two) -> None:
    before = listing(two.mine)
    held = two.eve.run("sbatch", "--parsable", "--output=/dev/null", str(two.mine / "job.sbatch"))
    job = held.stdout.strip()
    assert two.me.cluster.run("scontrol", "release", job).returncode == 0
    two.me.cluster.wait(job)
    assert listing(two.mine) == before
    assert waits(two, two.mine)
    said = json.loads(two.me.hpclaunch("status", "mine", "--json").stdout)
    assert said["state"] == "queued", said["reason"]


def test_traps_in_a_shared_runs_folder_stop_nobody(two: Two) -> None:
    me = replace(two.me, variables={"HPCLAUNCH_RUNS_DIR": str(two.shared)})
    two.eve.write(two.eve.home / "deep", "[" * 200_000)
    traps = {
        "deep": f"mkdir deep && cp {two.eve.home}/deep deep/run.json",
        "late": f'cp -r {two.hers} late && sed -i \'s/"created": [0-9.]*/"created": 1e308/\' '
        "late/run.json",
        "fifo": f"cp -r {two.hers} fifo && rm -f fifo/job_id && mkfifo fifo/job_id",
        "zero": f"cp -r {two.hers} zero && ln -sf /dev/zero zero/job_id",
        "logs": f"cp -r {two.hers} logs && ln -sf {two.me.home}/secret logs/logs/job-1.out",
        "mine": f"ln -s {two.me.home} taken-1",
    }
    two.me.write(two.me.home / "secret", SECRET).chmod(0o600)
    for text in traps.values():
        assert two.eve.run("sh", "-c", f"cd {two.shared} && {text}").returncode == 0, text
    began = time.monotonic()
    made = me.hpclaunch(*SUBMIT, "taken-1", "--no-submit", "--", "bash", "-c", "true")
    assert made.returncode == 2
    assert "exists already" in made.stderr
    made = me.hpclaunch(*SUBMIT, "fine", "--no-submit", "--", "bash", "-c", "true")
    assert made.returncode == 0, made.stderr
    newest = me.hpclaunch("status").stdout.splitlines()[0]
    assert newest.split() == ["run", "fine"], "hers claim to be newer"
    listed = me.hpclaunch("ls")
    assert "fine" in listed.stdout
    assert (listed.stdout + listed.stderr).count("deep/run.json") == 1
    for name in ("deep", "late", "fifo", "zero", "logs"):
        for command in ("status", "why", "logs"):
            done = me.hpclaunch(command, name)
            assert "bug in hpclaunch" not in done.stderr
            assert SECRET not in done.stdout + done.stderr
    assert time.monotonic() - began < 200, "nothing waits for a FIFO"


def test_with_a_closed_umask_she_reads_nothing_of_my_run(two: Two) -> None:
    closed = replace(two.me, variables={"HPCLAUNCH_RUNS_DIR": str(two.me.home / "closed")})
    command = f'umask 077; exec {closed.python} -P -m hpclaunch.cli.main "$@"'
    words = [*SUBMIT, "private", "--no-submit", "--", "bash", "-c", "true"]
    made = closed.run("bash", "-c", command, "hpclaunch", *words)
    assert made.returncode == 0, made.stderr
    folder = two.me.home / "closed/private"
    assert two.eve.run("ls", str(folder)).returncode != 0
    for path in folder.rglob("*"):
        assert path.lstat().st_mode & 0o077 == 0, path
