"""`hpclaunch sbatch` on a real Slurm: ranks, refusals, failures, secrets."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.monitors.fake_nvml import build_fake_nvml
from tests.slurm.files import files_holding
from tests.slurm.user import ROOT, User, ranks_in

pytestmark = pytest.mark.slurm

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.mark.real_start
def test_four_nodes_of_four_gpus(user: User, nvml: Path) -> None:
    user = User(user.cluster, user.folder, {"LD_LIBRARY_PATH": str(nvml), "HF_TOKEN": TOKEN})
    words = ["--nodes", "4", "--gpus", "4", "--gpu", "a100_40", "--wait", "--name", "big"]
    odd = ["two words", "it's", "$(touch hacked)", "line\nbreak"]
    done = user.hpclaunch("sbatch", *words, "--", "show_rank.py", *odd)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = ranks_in(done.stdout)
    assert [int(said["RANK"]) for said in ranks] == list(range(16))
    for rank, said in enumerate(ranks):
        assert said["host"] == f"node{rank // 4 + 1}", "consecutive ranks share a node"
        assert said["LOCAL_RANK"] == str(rank % 4)
        assert said["WORLD_SIZE"] == "16"
        assert said["MASTER_ADDR"] == "node1"
        assert said["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
        assert (said["FSDP_VERSION"], said["ACCELERATE_MIXED_PRECISION"]) == ("2", "bf16")
        assert said["argv"] == odd
        assert said["HF_TOKEN"] is None
    (port,) = {said["MASTER_PORT"] for said in ranks}
    assert int(port) == 10000 + int(ranks[0]["SLURM_JOB_ID"]) % 22000
    assert not (user.folder / "hacked").exists()

    folder = user.folder / "runs/big"
    report = json.loads(user.hpclaunch("report", "big", "--json").stdout)
    nodes = report["metrics"]["nodes"]
    assert [node["node"] for node in nodes] == ["node1", "node2", "node3", "node4"]
    for node in nodes:
        assert node["samples"] >= 1
        assert node["gpus"][0]["power_w"]["mean"] is not None
        assert node["end_reason"] == "SIGUSR2", "the sidecar was ended in order"
    assert (folder / "logs/nodes").read_text().split() == [f"node{i}" for i in range(1, 5)]
    for path in folder.rglob("*"):
        assert not path.is_file() or TOKEN not in path.read_text(errors="replace"), path


def test_two_jobs_on_the_same_nodes_have_ports_of_their_own(user: User) -> None:
    words = ["sbatch", "--nodes", "2", "--cpu-processes", "1", "--cpus", "1", "--mem", "1000"]
    names = ("one", "two")
    for name in names:
        done = user.hpclaunch(*words, "--name", name, "--", "show_rank.py")
        assert done.returncode == 0, done.stderr
    ports = set()
    for name in names:
        user.cluster.wait(user.status(name)["job_id"], 120)
        said = ranks_in(user.hpclaunch("logs", name).stdout)
        assert [rank["host"] for rank in said] == ["node1", "node2"], said
        ports |= {rank["MASTER_PORT"] for rank in said}
    assert len(ports) == 2


def test_a_port_where_somebody_listens_is_passed_over(user: User) -> None:
    """Not at the loopback address that a probe would try first, but at another one of the node."""
    with socket.create_server(("127.0.0.7", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--cpu-processes", "1", "--cpus", "1", "--port", str(port), "--wait"]
        done = user.hpclaunch("sbatch", *words, "--", "show_rank.py")
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = ranks_in(done.stdout)
    assert int(said["MASTER_PORT"]) != port


def test_a_refusal_says_what_was_asked_for(user: User) -> None:
    done = user.hpclaunch("sbatch", "tiny", "--cpu-processes", "1", "--cpus", "4000")
    assert done.returncode == 2
    assert "--cpus-per-task=4000" in done.stderr.splitlines()[-1]


def test_a_failing_program_fails_the_job(user: User) -> None:
    words = ["sbatch", "--nodes", "2", "--cpu-processes", "2", "--wait", "--name", "sad"]
    done = user.hpclaunch(*words, "--", "show_rank.py", "fail")
    assert done.returncode == 1
    assert "first failure: rank 3 on node2: ValueError: rank three is unhappy" in done.stderr
    said = user.status("sad")
    assert (said["state"], said["exit_code"], said["slurm"]) == ("failed", 1, "FAILED")
    assert said["failure"]["rank"] == 3
    assert user.cluster.job_state(said["job_id"]) == ("FAILED", 1, 0)
    text = user.hpclaunch("status", "sad")
    assert text.returncode == 1
    assert "rank 3 on node2: ValueError: rank three is unhappy" in text.stdout


def test_a_program_that_is_not_python_and_its_exit_code(user: User) -> None:
    words = ["sbatch", "--nodes", "2", "--cpu-processes", "1", "--sharding", "none", "--wait"]
    done = user.hpclaunch(*words, "--", "bash", "-c", 'echo "rank $RANK of $WORLD_SIZE"')
    assert done.returncode == 0, done.stderr
    assert "rank 0 of 2" in done.stdout
    assert "rank 1 of 2" in done.stdout


def test_a_sampler_that_fails_takes_nothing_down(user: User) -> None:
    words = ["sbatch", "--cpu-processes", "1", "--name", "blind"]
    assert user.hpclaunch(*words, "--no-submit", "--", "show_rank.py").returncode == 0
    folder = user.folder / "runs/blind"
    (folder / "metrics").rmdir()
    (folder / "metrics").symlink_to("/dev/full")
    functions = (folder / "launch.sh").read_text().replace("mkdir -p", "mkdir -p . #")
    (folder / "launch.sh").write_text(functions)
    job = user.run("sbatch", "--parsable", str(folder / "job.sbatch")).stdout.strip()
    assert user.cluster.wait(job, 120) == ("COMPLETED", 0, 0)
    assert "sidecar: cannot record" in (folder / "logs/sidecar.log").read_text()
    assert [rank["RANK"] for rank in ranks_in(user.hpclaunch("logs", "blind").stdout)] == ["0"]


@pytest.mark.parametrize(
    ("words", "slurms"),
    [
        (["--time", "2:00:00"], "time limit"),
        (["--nodes", "9"], "More processors requested"),
        (["--partition", "nosuch"], "partition"),
        (["--mem", "900G"], "node configuration is not available"),
    ],
)
def test_slurms_own_refusals(user: User, words: list[str], slurms: str) -> None:
    done = user.hpclaunch("sbatch", "tiny", "--cpu-processes", "1", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert slurms.lower() in done.stderr.lower()
    assert "nothing was submitted" in done.stderr
    assert not any((user.folder / "runs").glob("*"))
    assert user.jobs_left() == ""


def test_a_kind_the_cluster_does_not_have(user: User) -> None:
    done = user.hpclaunch("sbatch", "tiny", "--gpu", "h100")
    assert done.returncode == 2
    assert "a100_40" in done.stderr
    done = user.hpclaunch("sbatch", "tiny", "--gpus", "8", "--gpu", "a100_40")
    assert done.returncode == 2
    assert "has 4" in done.stderr


def test_submitting_from_within_a_job(user: User) -> None:
    script = " ".join(user.argv("sbatch", "--cpu-processes", "1", "--name", "inner", "--wait"))
    outer = f"#!/bin/bash\n#SBATCH --nodes=2 --ntasks=4\n{script} -- show_rank.py >out 2>&1\n"
    done = user.cluster.run("true")
    assert done.returncode == 0
    (user.folder / "outer.sh").write_text(outer)
    job = user.run("sbatch", "--parsable", "outer.sh").stdout.strip()
    assert user.cluster.wait(job, 120) == ("COMPLETED", 0, 0), (user.folder / "out").read_text()
    (said,) = ranks_in((user.folder / "out").read_text())
    assert said["WORLD_SIZE"] == "1"
    assert said["SLURM_JOB_ID"] != job


def test_status_and_cancel_of_a_waiting_and_a_running_job(user: User) -> None:
    words = ["sbatch", "--nodes", "4", "--cpu-processes", "1", "--cpus", "8"]
    first = user.hpclaunch(*words, "--name", "first", "--json", "--", "show_rank.py", "sleep")
    second = user.hpclaunch(*words, "--name", "second", "--json", "--", "show_rank.py")
    job = json.loads(first.stdout)["job_id"]
    assert user.status("second")["state"] == "queued"
    assert user.status(json.loads(second.stdout)["job_id"])["name"] == "second"
    assert user.hpclaunch("cancel", "second").returncode == 0
    assert user.status("second")["state"] == "cancelled"
    while '"RANK"' not in user.hpclaunch("logs", "first").stdout:
        assert user.status("first")["state"] in {"queued", "running"}
    said = user.status("first")
    assert (said["state"], said["nodes"]) == ("running", "node[1-4]")
    assert user.hpclaunch("cancel", job).returncode == 0
    assert user.cluster.wait(job).state == "CANCELLED"
    assert user.status("first")["state"] == "cancelled"
    assert user.hpclaunch("cancel", "first").returncode == 2


@pytest.mark.real_start
def test_the_tokens_of_a_shell_are_in_no_process_list_and_no_record(user: User) -> None:
    """Not in Slurm's either: its copies of script and environment, its answers, logs, job list."""
    plain = "a-value-that-jobs-inherit"
    kept = user.folder / ".config/hpclaunch/webhook"
    kept.parent.mkdir(parents=True)
    kept.write_text(f"http://127.0.0.1:9/{TOKEN}")
    kept.chmod(0o600)
    user = User(
        user.cluster,
        user.folder,
        {"HF_TOKEN": TOKEN, "WANDB_API_KEY": TOKEN, "MINE": TOKEN, "PLAIN": plain,
         "https_proxy": f"http://me:{TOKEN}@127.0.0.1:9"},
    )  # fmt: skip
    words = ["sbatch", "--cpu-processes", "1", "--name", "secret"]
    for secret in (["--token", TOKEN], [f"password={TOKEN}"]):
        assert user.hpclaunch(*words, "--", "show_rank.py", *secret).returncode == 2
    assert not (user.folder / "runs/secret").exists()
    done = user.hpclaunch(*words, "notify.webhook=true", "--", "show_rank.py", "sleep")
    assert done.returncode == 0, done.stderr
    while '"RANK"' not in user.hpclaunch("logs", "secret").stdout:
        assert user.status("secret")["state"] in {"queued", "running"}
    job = f"SLURM_JOB_ID={user.status('secret')['job_id']}".encode()
    seen = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            words_of = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if job in variables and int(process.name) != os.getpid():
            seen += 1
            assert TOKEN.encode() not in b"\0".join(variables) + words_of
    assert seen >= 3
    number = user.status("secret")["job_id"]
    place = user.cluster.place
    commands = [("scontrol", "-dd", "show", "job", number), ("squeue", "-O", "ALL:200"),
                ("scontrol", "write", "batch_script", number, "-")]  # fmt: skip
    shown = "".join(user.run(*command).stdout for command in commands)
    assert "show_rank.py" in shown
    assert TOKEN not in shown
    folders = (place.folder, user.folder)
    assert files_holding(TOKEN, *folders) == {kept}
    in_slurm = {path.name for path in files_holding(plain, place.folder)}
    assert "environment" in in_slurm, "what it does keep of the others is found"
    user.hpclaunch("cancel", "secret")
    user.cluster.wait(number)
    deadline = time.monotonic() + 30
    while f"JobId={number} " not in place.completions.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert files_holding(TOKEN, *folders) == {kept}


def test_the_documented_python_example(user: User) -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    (program,) = re.findall(r"^```python\n(from hpclaunch .*?)^```", page, re.M | re.S)
    token = user.folder / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("saved")
    user = User(user.cluster, user.folder, {"HF_HOME": str(token.parent)})
    done = user.run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/bash")
    assert done.stdout.splitlines()[-1] in {"queued", "running"}
    # On a busy machine the job may have failed by itself: there is no such model.
    assert user.hpclaunch("cancel", "llama3-8b-qlora-1").returncode in {0, 2}


def test_a_module_that_is_not_there_ends_the_job(user: User) -> None:
    words = ["sbatch", "--cpu-processes", "1", "--module", "nope/1.0", "--name", "bare", "--wait"]
    done = user.hpclaunch(*words, "--", "show_rank.py")
    assert done.returncode != 0
    assert ranks_in(done.stdout) == []
    said = user.status("bare")
    assert (said["state"], said["exit_code"]) == ("failed", 1)
    assert (user.folder / "runs/bare/exit_code").read_text() == "1\n"


def test_a_project_of_the_users_is_not_taken_for_the_sampler(user: User) -> None:
    package = user.folder / "monitors"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    words = ["sbatch", "--cpu-processes", "1", "--name", "mine", "--wait"]
    done = user.hpclaunch(*words, "--", "show_rank.py")
    assert done.returncode == 0, done.stderr
    said = json.loads(user.hpclaunch("report", "mine", "--json").stdout)
    assert [node["end_reason"] for node in said["metrics"]["nodes"]] == ["SIGUSR2"]
    assert "wrong one" not in (user.folder / "runs/mine/logs/sidecar.log").read_text()


def test_slurm_may_queue_what_cannot_start_now(user: User) -> None:
    """A drained node: --test-only says no, sbatch takes the job and it waits."""
    try:
        assert (
            user.run("scontrol", "update", "NodeName=node4", "State=DRAIN", "Reason=x").returncode
            == 0
        )
        words = ["sbatch", "--nodes", "4", "--cpu-processes", "1", "--name", "later"]
        done = user.hpclaunch(*words, "--", "show_rank.py")
        assert done.returncode == 0, done.stderr
        assert "could not start now" in done.stderr
        assert user.status("later")["state"] == "queued"
        assert user.hpclaunch("cancel", "later").returncode == 0
    finally:
        user.run("scontrol", "update", "NodeName=node4", "State=RESUME")
