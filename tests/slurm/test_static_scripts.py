"""launch.sh and node.sh on a real Slurm: what a job does around its training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.user import User, ranks_in

pytestmark = pytest.mark.slurm

TWO = ["sbatch", "--nodes", "2", "--cpu-processes", "1", "--no-submit", "--name", "one"]


def written(user: User, *program: str) -> Path:
    """Write a run on two nodes that is submitted by hand; returns its folder."""
    done = user.hpclaunch(*TWO, "--", *program)
    assert done.returncode == 0, done.stderr
    return user.folder / "runs/one"


def submit(user: User, folder: Path) -> tuple[str, int]:
    """Submit the script as it stands, wait for the end; returns the job's state and exit code."""
    job = user.run("sbatch", "--parsable", str(folder / "job.sbatch")).stdout.strip()
    state, code, _signal = user.cluster.wait(job, 180)
    return state, code


def test_a_folder_that_a_node_does_not_see_ends_the_job(user: User) -> None:
    folder = written(user, "show_rank.py")
    (folder / "node.sh").unlink()
    assert submit(user, folder) == ("FAILED", 1)
    log = user.hpclaunch("logs", "one").stdout
    assert f"{folder} is not on node" in log
    assert ranks_in(log) == []
    assert (folder / "exit_code").read_text() == "1\n"
    assert "not on shared storage" in user.hpclaunch("why", "one").stdout


def test_a_greeting_of_the_site_is_no_port(user: User) -> None:
    folder = written(user, "show_rank.py")
    (folder / "greeting").write_text("echo 'welcome to node 4711'\n")
    script = folder / "job.sbatch"
    text = script.read_text().replace("\nbegin", f"\nexport BASH_ENV={folder}/greeting\nbegin", 1)
    script.write_text(text)
    assert submit(user, folder) == ("COMPLETED", 0)
    ranks = ranks_in(user.hpclaunch("logs", "one").stdout)
    assert [rank["RANK"] for rank in ranks] == ["0", "1"]
    assert {rank["MASTER_PORT"] for rank in ranks}.isdisjoint({"4711", None})


@pytest.mark.real_start
def test_the_code_of_the_node_that_failed_first_is_the_jobs(user: User) -> None:
    """srun alone would return 143, of the node that it ended itself."""
    program = user.folder / "fails.sh"
    program.write_text('[ "$SLURM_NODEID" = 0 ] && sleep 60\nexit 7\n')
    folder = written(user, "bash", "fails.sh")
    script = folder / "job.sbatch"
    # Without accelerate in between, which returns 1 for whatever code a program ended with.
    text = script.read_text()
    launcher = text[text.index("accelerate-launch \\") : text.index('"$@"\' node')]
    script.write_text(text.replace(launcher, "").replace("--no_python bash", "bash"))
    assert submit(user, folder) == ("FAILED", 7)
    assert (folder / "logs/first-failed-node").read_text().split()[:2] == ["7", "1"]
