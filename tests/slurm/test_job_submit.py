"""A site whose job_submit.lua refuses jobs, or changes them: what the user gets to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.needed import need_slurm
from tests.slurm.settings import Settings
from tests.slurm.user import Terminal, User

pytestmark = pytest.mark.slurm

WORDS = "give a project with --account"
RULE = f"""
function slurm_job_submit(job, partitions, uid)
  if job.account == nil then
    slurm.log_user("{WORDS}")
    return slurm.ERROR
  end
  if job.account == "short" then
    job.time_limit = 7
    job.comment = "charged to lab 7"
    job.name = "site-" .. job.name
  end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""
SIZE = ("tiny", "--nodes", "1", "--cpu-processes", "1")


@pytest.fixture(scope="module")
def strict() -> Iterator[ThrowawayCluster]:
    need_slurm()
    with ThrowawayCluster(Settings(nodes=1, job_submit=RULE)) as cluster:
        yield cluster


def test_a_refused_job_is_refused_in_the_sites_own_words(
    strict: ThrowawayCluster, tmp_path: Path
) -> None:
    user = User(strict, tmp_path)
    refused = user.hpclaunch("sbatch", *SIZE, "--name", "one")
    assert refused.returncode == 2
    assert WORDS in refused.stderr
    assert "nothing was submitted" in refused.stderr
    assert not (tmp_path / "runs" / "one").exists()
    rehearsed = user.hpclaunch("rehearse", *SIZE)
    assert rehearsed.returncode == 1
    assert "FAIL  script" in rehearsed.stdout
    assert WORDS in rehearsed.stdout
    attached = user.hpclaunch("srun", *SIZE, "--name", "two")
    assert attached.returncode == 2
    assert WORDS in attached.stderr


def test_with_an_account_it_is_taken(strict: ThrowawayCluster, tmp_path: Path) -> None:
    user = User(strict, tmp_path)
    taken = user.hpclaunch("sbatch", *SIZE, "--name", "one", "--account", "lab", "--", "true")
    assert taken.returncode == 0, taken.stderr


def test_a_changed_job_is_shown_as_slurm_holds_it_and_is_still_ours(
    strict: ThrowawayCluster, tmp_path: Path
) -> None:
    user = User(strict, tmp_path)
    own = ("--account", "short", "--comment", "mine", "--", "sleep.py")
    (tmp_path / "sleep.py").write_text("import time\ntime.sleep(300)\n")
    taken = user.hpclaunch("sbatch", *SIZE, "--name", "one", "--time", "30", *own)
    assert "changed the job: time limit 00:07:00, 30 was requested" in taken.stderr
    row = user.run("squeue", "--noheader", "--name=site-one", "--format=%l|%k").stdout.strip()
    assert row == "7:00|charged to lab 7"
    cancelled = user.hpclaunch("cancel", "one")
    assert cancelled.returncode == 0, cancelled.stderr
    again = user.hpclaunch("resume", "one")
    assert again.returncode == 0, again.stderr
    assert "changed the job" in again.stderr
    assert user.hpclaunch("cancel", "one").returncode == 0
    attached = user.start("srun", *SIZE, "--name", "two", "--time", "30", *own)
    assert attached.stdout is not None
    lines = []
    for line in attached.stdout:
        lines.append(line)
        if "starting 1 process" in line:
            break
    assert "the site has changed the job: time limit 00:07:00" in "".join(lines)
    cancelled = user.hpclaunch("cancel", "two")
    assert cancelled.returncode == 0, cancelled.stderr
    attached.communicate(timeout=60)
    shell = Terminal(user, *user.argv("srun", *SIZE, "--shell", "--time", "30", *own[:2]))
    shell.wait_for("the site has changed the job: time limit 00:07:00, 30 was requested")
    shell.type("exit\n")
    assert shell.end() == 0
    held = ("--time", "30", "--account", "short", "--sbatch-arg=--hold")
    for command, name in (
        (("sweep", "training.seed=1,2"), "changed the job: time limit 00:07:00"),
        (("sbatch", "--then", "merge"), "merge: the site has changed the job: time limit 00:07:00"),
    ):
        several = user.hpclaunch(command[0], *SIZE, *command[1:], "--name", command[0], *held)
        assert several.returncode == 0, several.stderr
        assert name in several.stderr
        assert user.hpclaunch("cancel", command[0]).returncode == 0
    assert user.jobs_left() == ""
