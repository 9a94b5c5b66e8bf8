"""`hpclaunch monitor` around programs of any kind, as a person at a shell uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monitors.records import End, Tick
from monitors.storage.filenames import nodes_in
from monitors.storage.store import NodeStore
from tests.cli.running import Home

FAST = ["--interval", "0.1"]
LONG = "import time; time.sleep(60)"


def start(home: Home, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "hpclaunch.cli.main", "monitor", "--node", "n1", *words],
        env=home.environment,
        cwd=home.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ticks(out: Path) -> int:
    return sum(isinstance(record, Tick) for record in NodeStore(out, "n1").records())


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_program_keeps_its_input_output_and_exit_code(home: Home) -> None:
    program = ["bash", "-c", "cat; echo talk >&2; exit 7"]
    done = subprocess.run(
        [*home.argv("monitor", "--out", "rec", *FAST, "--"), *program],
        env=home.environment,
        cwd=home.folder,
        input="what was typed",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "what was typed")
    assert done.stderr.startswith("talk\n")


def test_what_it_says_and_what_is_left(home: Home) -> None:
    done = home.call(
        "monitor", "--out", "rec", "--node", "n1", *FAST, "--", "bash", "-c", "echo x; sleep 2"
    )
    assert (done.code, done.out) == (0, "x\n")
    assert done.err == "hpclaunch: recorded in rec; see: hpclaunch report rec\n"
    records = list(NodeStore(home.folder / "rec", "n1").records())
    assert isinstance(records[-1], End)
    assert ticks(home.folder / "rec") > 3
    report = home.call("report", "rec")
    assert report.code == 0
    assert "1 node, " in report.out
    assert (home.folder / "rec/report.html").is_file()
    told = json.loads(home.call("report", "rec", "--json").out)
    assert [node["node"] for node in told["metrics"]["nodes"]] == ["n1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_reach_the_program(home: Home, number: signal.Signals) -> None:
    program = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        "open('ready', 'w').close()\n" + LONG
    )
    process = start(home, "--out", "rec", *FAST, "--", sys.executable, "-c", program)
    wait_for((home.folder / "ready").exists)
    process.send_signal(number)
    assert process.wait(30) == 5


def test_a_program_that_a_signal_ended_gives_the_code_of_a_shell(home: Home) -> None:
    done = home.call("monitor", "--out", "rec", "--", "bash", "-c", "kill -KILL $$")
    assert done.code == 128 + signal.SIGKILL


def test_where_the_monitor_is_killed_the_program_goes_on_and_is_recorded(home: Home) -> None:
    process = start(
        home, "--out", "rec", *FAST, "--", "bash", "-c", "sleep 4; echo done > end; sleep 1"
    )
    wait_for(lambda: ticks(home.folder / "rec") > 0 if (home.folder / "rec").exists() else False)
    process.kill()
    process.wait()
    seen = ticks(home.folder / "rec")
    wait_for((home.folder / "end").exists)
    assert ticks(home.folder / "rec") > seen + 5
    wait_for(lambda: isinstance(list(NodeStore(home.folder / "rec", "n1").records())[-1], End))


def test_a_sampler_that_dies_leaves_the_program_alone(home: Home) -> None:
    process = start(home, "--out", "rec", *FAST, "--", "bash", "-c", "sleep 4; exit 3")
    wait_for(lambda: (home.folder / "rec").exists() and ticks(home.folder / "rec") > 0)
    (sidecar,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_sidecar_of(entry, process.pid)
    ]
    os.kill(sidecar, signal.SIGKILL)
    _, talk = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "ended early" in talk


def _is_sidecar_of(entry: Path, pid: int) -> bool:
    try:
        parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == pid and b"monitors.recorder" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "rec", "--", "no-such-program"], "no-such-program cannot be started: No such"),
        (["--out", "rec", "--", "./plain"], "./plain cannot be started: Permission denied"),
        (["--out", "plain", "--", "true"], "plain cannot be written: File exists"),
        (["--out", "/proc/no", "--", "true"], "/proc/no cannot be written: "),
        (["--out", "rec"], "there is no program to run; write it after --"),
        (["--out", "rec", "--"], "there is nothing after '--'"),
        (["--out", "rec", "--node", "a/b", "--", "true"], "--node 'a/b' cannot begin a file name"),
        (["--out", "rec", "--interval", "0", "--", "true"], "0.0 is not in the range"),
        (["--", "true"], "Missing option '--out'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_before_anything_runs(
    home: Home, words: list[str], said: str
) -> None:
    (home.folder / "plain").write_text("no program")
    done = home.call("monitor", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_of_several_tasks_on_a_node_the_first_records(home: Home) -> None:
    second = Home(home.folder, {"SLURM_LOCALID": "1"})
    done = second.call("monitor", "--out", "rec", "--", "bash", "-c", "exit 4")
    assert (done.code, done.err) == (4, "")
    assert not (home.folder / "rec").exists()
    first = Home(home.folder, {"SLURM_LOCALID": "0"})
    first.call("monitor", "--out", "rec", *FAST, "--", "sleep", "1")
    assert len(nodes_in(home.folder / "rec")) == 1


def test_its_ranks_are_found(home: Home) -> None:
    """As torchrun starts them: with a number of their own in the environment."""
    loop = "import time\nend = time.time() + 9\nwhile time.time() < end: pass"
    program = ["bash", "-c", 'LOCAL_RANK=0 "$0" -c "$1"; true', sys.executable, loop]
    done = home.call("monitor", "--out", "rec", "--node", "n1", *FAST, "--", *program)
    assert done.code == 0, done.err
    known = [
        record.host.rank_ran_pct + (record.host.rank_queued_pct or 0)
        for record in NodeStore(home.folder / "rec", "n1").records()
        if isinstance(record, Tick) and record.host.rank_ran_pct is not None
    ]
    assert known
    assert sum(known) / len(known) > 80
