"""`hpclaunch srun`: from a login node, inside an allocation, and the shell on its first node."""

from __future__ import annotations

import re
import shlex
import time

import pytest

from tests.slurm.user import Terminal, User, ranks_in

pytestmark = pytest.mark.slurm

TWO_BY_TWO = ["--nodes", "2", "--cpu-processes", "2"]


def check_two_by_two(text: str) -> None:
    ranks = ranks_in(text)
    assert [rank["RANK"] for rank in ranks] == ["0", "1", "2", "3"], text
    first, last = ranks[0]["host"], ranks[3]["host"]
    assert first != last
    assert [rank["host"] for rank in ranks] == [first, first, last, last]
    assert {rank["MASTER_ADDR"] for rank in ranks} == {first}


@pytest.mark.real_start
def test_from_a_login_node(user: User) -> None:
    done = user.hpclaunch("srun", *TWO_BY_TWO, "--name", "one", "--", "show_rank.py")
    assert done.returncode == 0, done.stderr
    check_two_by_two(done.stdout)
    assert re.search(r"^node1 cpu1 \| \{", done.stdout, re.MULTILINE), "labelled by node and rank"
    said = user.status("one")
    assert said["state"] == "done"
    assert said["job_id"].isdigit()
    check_two_by_two(user.hpclaunch("logs", "one").stdout)
    assert user.jobs_left() == ""


@pytest.mark.real_start
def test_a_failure_is_the_exit_code(user: User) -> None:
    done = user.hpclaunch("srun", *TWO_BY_TWO, "--", "show_rank.py", "fail")
    assert done.returncode == 1
    assert "rank 3 on node2: ValueError: rank three is unhappy" in done.stderr


def test_an_allocation_that_slurm_refuses(user: User) -> None:
    done = user.hpclaunch("srun", *TWO_BY_TWO, "--time", "2:00:00", "--", "show_rank.py")
    assert done.returncode == 2
    assert "time limit" in done.stderr
    assert not any((user.folder / "runs").glob("*"))


@pytest.mark.parametrize("step", [[], ["srun", "--overlap", "--nodes=1", "--ntasks=1"]])
def test_inside_an_allocation_on_all_its_nodes(user: User, step: list[str]) -> None:
    inner = shlex.join(user.argv("srun", "--cpu-processes", "2", "--", "show_rank.py"))
    argv = ["salloc", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4"]
    done = user.run(*argv, *step, "bash", "-c", inner)
    assert done.returncode == 0, done.stderr
    check_two_by_two(done.stdout)


def test_inside_an_allocation_that_is_smaller_than_asked(user: User) -> None:
    inner = shlex.join(user.argv("srun", "--nodes", "3", "--cpu-processes", "2", "tiny"))
    done = user.run("salloc", "--nodes=2", "bash", "-c", inner)
    assert done.returncode == 2
    assert "leave --nodes out" in done.stderr
    inner = shlex.join(user.argv("srun", "tiny"))
    done = user.run("salloc", "--nodes=2", "bash", "-c", inner)
    assert done.returncode == 2
    assert "holds no GPUs" in done.stderr


def test_a_part_of_an_allocation(user: User) -> None:
    words = ["srun", "--nodes", "1", "--cpu-processes", "2", "--name", "part", "--", "show_rank.py"]
    argv = ["salloc", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4"]
    done = user.run(*argv, "bash", "-c", shlex.join(user.argv(*words)))
    assert done.returncode == 0, done.stderr
    ranks = ranks_in(done.stdout)
    first = (user.folder / "runs/part/logs/nodes").read_text().split()
    assert [rank["host"] for rank in ranks] == [*first, *first], "both on the first node"
    assert len(list((user.folder / "runs/part/metrics").glob("*.samples*"))) <= 1


def test_the_gpus_of_an_allocation_are_used(user: User) -> None:
    inner = shlex.join(user.argv("srun", "--dry-run", "--", "show_rank.py"))
    done = user.run("salloc", "--nodes=2", "--gpus-per-node=a100_40:3", "bash", "-c", inner)
    assert done.returncode == 0, done.stderr
    assert "--num_machines 2" in done.stdout
    assert "--num_processes 6" in done.stdout


@pytest.mark.real_start
def test_ctrl_c_stops_everything(user: User) -> None:
    argv = user.argv("srun", *TWO_BY_TWO, "--name", "long", "--", "show_rank.py", "sleep")
    terminal = Terminal(user, *argv)
    terminal.wait_for('"RANK": "3"')
    job = user.status("long")["job_id"]
    terminal.type("\x03")
    begin = time.monotonic()
    assert terminal.end() == 130
    assert time.monotonic() - begin < 30
    assert "Traceback" not in terminal.said
    assert "cancelled" in terminal.said
    assert user.cluster.wait(job).state in {"CANCELLED", "COMPLETED", "FAILED"}
    assert user.jobs_left() == ""
    assert user.run("pgrep", "-f", f"{user.folder}.*show_rank").stdout == ""
    assert user.status("long")["state"] == "cancelled"


def test_ctrl_c_while_waiting_for_nodes(user: User) -> None:
    busy = user.run("sbatch", "--parsable", "--nodes=4", "--exclusive", "--wrap", "sleep 300")
    terminal = Terminal(user, *user.argv("srun", *TWO_BY_TWO, "--", "show_rank.py"))
    terminal.wait_for("Pending job allocation")
    terminal.type("\x03")
    assert terminal.end() == 130
    left = user.run("squeue", "--noheader", "--format=%i").stdout.split()
    assert left == [busy.stdout.strip()]
    user.run("scancel", *left)
    user.cluster.wait(left[0])


def test_a_shell_on_the_first_node_from_which_srun_works(user: User) -> None:
    (user.folder / ".bashrc").write_text("PATH=/usr/bin:/bin\nPS1='ready> '\n")
    terminal = Terminal(user, *user.argv("srun", *TWO_BY_TWO, "--shell"))
    terminal.wait_for("ready> ")
    terminal.type("hostname; which python hpclaunch\n")
    terminal.wait_for("node1")
    terminal.type("hpclaunch srun --cpu-processes 2 --name inner -- show_rank.py; echo code $?\n")
    terminal.wait_for("code 0")
    check_two_by_two(terminal.said.replace("\r\n", "\n"))
    terminal.type("exit\n")
    assert terminal.end() == 0
    assert user.jobs_left() == ""


def test_a_run_in_an_allocation_has_a_fate_of_its_own(user: User) -> None:
    call = shlex.join(user.argv())
    inner = f"""
        {call} srun --cpu-processes 1 --name first -- show_rank.py
        {call} srun --cpu-processes 1 --name second -- show_rank.py sleep &
        until {call} logs second 2>/dev/null | grep -q RANK; do sleep 0.5; done
        {call} cancel second
        wait $!
        echo "code $?"
        srun --overlap --nodes=2 --ntasks=2 hostname
    """
    done = user.run("salloc", "--nodes=2", "--cpus-per-task=4", "bash", "-c", inner)
    assert done.returncode == 0, done.stderr
    assert "code 130" in done.stdout
    assert sorted(done.stdout.splitlines()[-2:]) == ["node1", "node2"], "the allocation is there"
    assert user.status("second")["state"] == "cancelled"
    assert user.status("first")["state"] == "done"


@pytest.mark.parametrize("form", [["--gpus=8"], ["--gpus-per-task=1", "--ntasks-per-node=4"]])
def test_any_way_of_asking_for_gpus(user: User, form: list[str]) -> None:
    inner = shlex.join(user.argv("srun", "--", "show_rank.py"))
    done = user.run("salloc", "--nodes=2", *form, "bash", "-c", inner)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = ranks_in(done.stdout)
    assert [rank["RANK"] for rank in ranks] == [str(rank) for rank in range(8)]
    assert {rank["CUDA_VISIBLE_DEVICES"] for rank in ranks} == {"0,1,2,3"}
