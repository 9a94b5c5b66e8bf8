"""The commands that look: config, recipes, status, logs, report; and what none of them imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hpclaunch.run.processes import started
from tests.cli.running import Home
from tests.monitors import traces

HEAVY = ("torch", "transformers", "accelerate", "trl", "peft", "datasets", "bitsandbytes")

LOG = """\
the script itself
0: [gpu0]: step 1
0: [gpu1]: hello from rank one
1: [gpu0]: hello from rank two
1: the launcher of the second node
"""


@pytest.fixture
def run(home: Home) -> Path:
    """A run folder of 2 x 2, as if its job had come to step 2 of 4."""
    words = ["sbatch", "tiny", "--nodes", "2", "--gpus", "2", "--no-submit", "--name", "one"]
    assert home.call(*words).code == 0
    folder = home.runs / "one"
    (folder / "logs/job-7.out").write_text(LOG)
    (folder / "logs/nodes").write_text("alpha\nbeta\n")
    marks = [
        {"event": "load", "seconds": 1.0, "parameters": 1000, "trainable": 100},
        {"event": "step", "step": 1, "total": 4, "seconds": 2.0, "tokens": 300, "loss": 3.0},
        {"event": "step", "step": 2, "total": 4, "seconds": 2.0, "tokens": 500, "loss": 2.5},
        {"event": "checkpoint", "step": 2, "seconds": 0.1, "bytes": 10, "path": "checkpoints"},
    ]
    with (folder / "events.jsonl").open("w") as stream:
        stream.writelines(json.dumps({"time": 1.0, **mark}) + "\n" for mark in marks)
    return folder


def test_status_of_a_run_that_was_only_written(home: Home) -> None:
    home.call("sbatch", "tiny", "--no-submit")
    done = home.call("status")
    assert done.code == 0
    assert "written (not submitted; by hand: sbatch" in done.out


def test_status_reads_marks_and_exit_code(home: Home, run: Path) -> None:
    (run / "exit_code").write_text("0\n")
    said = json.loads(home.call("status", "one", "--json").out)
    assert said["state"] == "done"
    assert said["progress"]["step"] == 2
    assert said["progress"]["loss"] == 2.5
    assert said["progress"]["first_loss"] == 3.0
    assert said["progress"]["tokens_per_second"] == 200.0
    assert said["progress"]["trainable"] == 100
    assert said["progress"]["checkpoint"] == 2
    assert said["seconds_left"] == 4.0
    text = home.call("status").out
    assert "2 of 4" in text
    assert "200 tokens/s" in text
    assert "100 of 1,000 parameters" in text


def test_status_names_the_first_failing_rank(home: Home, run: Path) -> None:
    (run / "exit_code").write_text("1\n")
    for rank, when in ((0, 20.0), (3, 10.0), (1, 30.0)):
        said = {"rank": rank, "local_rank": rank % 2, "host": "beta", "time": when,
                "error": f"ValueError: rank {rank} fell", "traceback": "..."}  # fmt: skip
        (run / f"logs/rank-{rank}.error.json").write_text(json.dumps(said))
    (run / "logs/rank-2.error.json").write_text("{torn")
    done = home.call("status")
    assert done.code == 1
    assert "failed, exit code 1" in done.out
    assert "rank 3 on beta: ValueError: rank 3 fell" in done.out


def test_status_of_a_cancelled_run(home: Home, run: Path) -> None:
    (run / "exit_code").write_text("143\n")
    (run / "cancelled").write_text("me on here\n")
    done = home.call("status", "--json")
    assert json.loads(done.out)["state"] == "cancelled"
    assert done.code == 1


def test_logs_say_who(home: Home, run: Path) -> None:
    done = home.call("logs")
    assert done.code == 0
    assert done.out.splitlines() == [
        "the script itself",
        "alpha gpu0 | step 1",
        "alpha gpu1 | hello from rank one",
        "beta gpu0 | hello from rank two",
        "beta      | the launcher of the second node",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--rank", "2"], ["beta gpu0 | hello from rank two"]),
        (["--rank", "3"], []),
        (["--node", "alpha"], ["alpha gpu0 | step 1", "alpha gpu1 | hello from rank one"]),
        (["--rank", "1", "--node", "alpha"], ["alpha gpu1 | hello from rank one"]),
        (["--node", "0"], ["alpha gpu0 | step 1", "alpha gpu1 | hello from rank one"]),
    ],
)
def test_logs_of_a_node_or_rank(
    home: Home, run: Path, words: list[str], expected: list[str]
) -> None:
    assert home.call("logs", "one", *words).out.splitlines() == expected


def test_logs_follow_ends_with_the_run(home: Home, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    # As if this very process carried it.
    mine = {"pid": os.getpid(), "pid_started": started(os.getpid()), "host": os.uname().nodename}
    (run / "run.json").write_text(json.dumps(record | {"mode": "local", **mine}))
    process = home.start("logs", "-f", "one")
    assert process.stdout is not None
    for _ in LOG.splitlines():
        process.stdout.readline()
    with (run / "logs/job-7.out").open("a") as stream:
        stream.write("0: [gpu0]: one more")
        stream.flush()
        (run / "exit_code").write_text("0\n")
    rest, _ = process.communicate(timeout=20)
    assert rest.splitlines() == ["alpha gpu0 | one more"]
    assert process.returncode == 0


def test_logs_follow_of_a_run_that_will_say_nothing_more(home: Home, run: Path) -> None:
    done = home.call("logs", "-f", "one", timeout=20)
    assert done.code == 0
    assert len(done.out.splitlines()) == len(LOG.splitlines())


@pytest.mark.parametrize(
    "words", [["--rank", "4"], ["--node", "gamma"], ["--node", "2"], ["--rank", "2", "--node", "0"]]
)
def test_logs_of_nobody(home: Home, run: Path, words: list[str]) -> None:
    done = home.call("logs", *words)
    assert done.code == 2
    assert words[0] in done.err


def test_a_run_is_found_from_another_folder(home: Home, run: Path) -> None:
    elsewhere = home.folder / "elsewhere"
    elsewhere.mkdir()
    for word in ("one", str(run)):
        done = subprocess.run(
            home.argv("status", word, "--json"),
            env=home.environment,
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=False,
        )
        assert json.loads(done.stdout)["folder"] == str(run)


def test_a_page_asked_for_that_cannot_be_written_is_a_failure(home: Home, run: Path) -> None:
    traces.record(run / "metrics", nodes=1, gpus=1, seconds=20)
    assert home.call("report", "one").code == 0
    done = home.call("report", "one", "--html", "/nosuch/page.html")
    assert done.code == 1
    assert "/nosuch/page.html cannot be written" in done.err


def test_report_without_samples_says_so(home: Home, run: Path) -> None:
    done = home.call("report")
    assert done.code == 1
    assert "2 of 4" in done.out
    assert "no record" in done.out.lower()


def test_config_is_the_yaml_alone(home: Home) -> None:
    done = home.call("config", "--nodes", "4", "--gpus", "4")
    config = yaml.safe_load(done.out)
    assert config["fsdp_config"]["fsdp_version"] == 2
    assert config["fsdp_config"]["fsdp_activation_checkpointing"] is False
    assert config["num_processes"] == 16
    words = [
        "--fsdp",
        "1",
        "--offload",
        "--activation-checkpointing",
        "--sharding",
        "grad",
        "--port",
        "2000",
    ]
    config = yaml.safe_load(home.call("config", "--nodes", "2", "--gpus", "8", *words).out)
    assert config["fsdp_config"]["fsdp_version"] == 1
    assert config["fsdp_config"]["fsdp_sharding_strategy"] == "SHARD_GRAD_OP"
    assert config["fsdp_config"]["fsdp_offload_params"] is True
    assert config["fsdp_config"]["fsdp_activation_checkpointing"] is True
    assert config["main_process_port"] == 2000


def test_recipes_are_listed_shown_copied_and_checked(home: Home) -> None:
    names = [line.split()[0] for line in home.call("recipes", "ls").out.splitlines()]
    assert {"tiny", "llama3-70b-lora", "llama3.1-8b-qlora"} <= set(names)
    assert [row["name"] for row in json.loads(home.call("recipes", "ls", "--json").out)] == names
    assert home.call("recipes", "cp", "tiny").out == "tiny.yaml\n"
    copy = home.folder / "tiny.yaml"
    assert copy.read_text() == home.call("recipes", "cat", "tiny").out
    assert home.call("recipes", "cp", "tiny").code == 2
    copy.write_text(copy.read_text() + "\nchekpoints: {}\n")
    done = home.call("recipes", "validate", "tiny.yaml")
    assert done.code == 2
    assert "did you mean 'checkpoints'" in done.err
    assert f"tiny.yaml:{len(copy.read_text().splitlines())}" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["sbatch", "--help"],
        ["sbatch", "tiny", "--nodes", "4", "--gpus", "4", "--dry-run"],
        ["config", "--nodes", "4", "--gpus", "4"],
        ["status", "one"],
        ["report", "one"],
    ],
)
def test_the_training_stack_is_never_imported(home: Home, run: Path, words: list[str]) -> None:
    assert home.imported(words, HEAVY) == set()


def test_a_slurm_that_takes_its_time_is_waited_for_aloud(home: Home, run: Path) -> None:
    folder = home.folder / "bin"
    folder.mkdir()
    for name, script in {
        "sbatch": "",
        "squeue": "sleep 4; echo 'slurm_load_jobs error: cannot be reached' >&2; exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    record = json.loads((run / "run.json").read_text()) | {"job_id": "7"}
    (run / "run.json").write_text(json.dumps(record))
    path = f"{folder}:{home.environment['PATH']}"
    done = Home(home.folder, {"PATH": path}).call("status", "one")
    assert done.err == "hpclaunch: waiting for Slurm to answer\n"
    assert "unknown (Slurm does not answer)" in done.out
    assert "squeue --jobs 7" in done.out


def test_a_reader_that_goes_away(home: Home) -> None:
    done = subprocess.run(
        f"{sys.executable} -m hpclaunch.cli.main recipes cat tiny | bash -c 'read -r line'",
        shell=True,
        env=home.environment,
        cwd=home.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["--help"], ["plan", "tiny"]])
def test_a_reader_that_is_gone_before_the_first_word(home: Home, words: list[str]) -> None:
    """What is still buffered is dropped in silence: the interpreter would complain at its end."""
    end, stdout = os.pipe()
    os.close(end)
    buffered = {k: v for k, v in home.environment.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "hpclaunch.cli.main", *words],
        env=buffered,
        cwd=home.folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(stdout)
    assert (done.returncode, done.stderr) == (1, "")


def test_version_and_help(home: Home) -> None:
    import hpclaunch

    assert home.call("--version").out == f"hpclaunch {hpclaunch.__version__}\n"
    by_name = subprocess.run(
        [sys.executable, "-P", "-m", "hpclaunch", "--version"],
        capture_output=True, text=True, check=True, env=home.environment, cwd=home.folder,
    )  # fmt: skip
    assert by_name.stdout == f"hpclaunch {hpclaunch.__version__}\n"
    bare, asked = home.call(), home.call("--help")
    assert bare == asked == home.call("--help", real=True)
    assert bare.code == 0
    assert "sbatch" in bare.out
