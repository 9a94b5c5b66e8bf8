"""`hpclaunch why` on a run with a log of 100 MB, against `grep -c` of the same file, in turns.

    python -m tests.benchmarks.why [ROUNDS]

Three logs: a failure at the end, one in the middle with steps going on behind it, and none at all,
which means that all of it is searched. Ends with 1 where one takes a second or more.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import write_record
from tests.run.making import record

MOST = 1.0
"""Seconds that an answer may take."""
SIZE = 100 * 10**6
STEP = (
    "{node}: [gpu{rank}]:{{'loss': 1.{n:04d}, 'grad_norm': 0.4412, 'learning_rate': 9.1e-05, "
    "'epoch': 0.{n:04d}, 'num_tokens': 1234567.0}}\n"
)
KILLED = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=8.0. Some of the step tasks have been "
    "OOM Killed.\nsrun: error: node2: task 1: Out Of Memory\n"
)
CASES = {"at the end": 1.0, "in the middle": 0.5, "nowhere": None}
"""Where the failure stands, as a share of the log."""


def write_run(root: Path, place: float | None) -> RunFolder:
    """Write a failed run whose log has the failure at a place, or none."""
    root.mkdir()
    folder = RunFolder(root)
    folder.logs.mkdir()
    write_record(folder, record(name=root.name, mode="local", job_id=None))
    folder.exit_code_file.write_text("1\n")
    block = "".join(
        STEP.format(node=n % 16, rank=n % 8, n=n * 7919 % 10000) for n in range(20000)
    ).encode()
    blocks = SIZE // len(block) + 1
    with (folder.logs / "job-8.out").open("wb") as log:
        for number in range(blocks):
            if place is not None and number == int(blocks * place):
                log.write(KILLED.encode())
            log.write(block)
        if place == 1.0:
            log.write(KILLED.encode())
    return folder


def seconds(command: list[str]) -> tuple[float, str]:
    """Run a command; gives its wall time in seconds and what it said."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return time.perf_counter() - begin, done.stdout


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    program = str(Path(sys.executable).with_name("hpclaunch"))
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        for name, share in CASES.items():
            folder = write_run(Path(place) / name.replace(" ", "-"), share)
            log = folder.logs / "job-8.out"
            ours, greps = [], []
            kind = ""
            for number in range(rounds + 1):
                took, said = seconds([program, "why", str(folder.root), "--json"])
                kind = json.loads(said)["cause"]["kind"]
                grep, _ = seconds(["grep", "-c", "oom_kill event", str(log)])
                if number:  # the first round fills the caches
                    ours.append(took)
                    greps.append(grep)
            log.unlink()
            a, b = statistics.median(ours), statistics.median(greps)
            worst = max(worst, a)
            print(f"failure {name:<14}{a:6.3f} s, grep {b:6.3f} s: {a / b:5.1f} times  ({kind})")
    print(f"wanted: under {MOST:g} s; worst: {worst:.3f} s")
    return 0 if worst < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
