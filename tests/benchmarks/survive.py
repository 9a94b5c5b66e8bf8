"""How long stopping and going on take: from the request to the exit, from the start to a step.

    python -m tests.benchmarks.survive [ROUNDS]

LoRA on two CPU ranks (FSDP 2, gloo), in turns in one run: a fresh start, which is then asked to
stop with a checkpoint (as a time limit or a preemption asks); one that goes on from that checkpoint
and is ended by SIGTERM; and one whose checkpoint must come from its copy first. The shares are of
the fresh start's seconds to its first step.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from tests.train.running import environment, free_port, make_run

LONGEST = 120.0
WORDS = [
    "training.max_steps=2000",
    "training.logging_steps=1",
    "training.eval_strategy=no",
    "checkpoints.every_steps=0",
    "tracking.tensorboard=false",
]


def start(folder: RunFolder) -> tuple[subprocess.Popen[bytes], float]:
    """Start training; gives the process, and the seconds to its first step."""
    folder.events.unlink(missing_ok=True)
    folder.stop_request.unlink(missing_ok=True)
    began = time.time()
    process = subprocess.Popen(
        ["accelerate", "launch", "--config_file", str(folder.accelerate), "--main_process_port",
         str(free_port()), "-m", "hpclaunch.train", str(folder.root)],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while True:
        steps = [mark["time"] for mark in read_events(folder.events) if mark["event"] == "step"]
        if steps:
            return process, steps[0] - began
        if process.poll() is not None or time.time() - began > LONGEST:
            sys.exit(f"no step in {folder.root}")
        time.sleep(0.02)


def stop(folder: RunFolder, process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Ask it to stop; gives the seconds until the checkpoint is in place, and until the exit."""
    time.sleep(1)
    asked = time.time()
    folder.stop_request.write_text("preempted\n")
    process.wait(LONGEST)
    gone = time.time()
    saved = [mark["time"] for mark in read_events(folder.events) if mark["event"] == "checkpoint"]
    return saved[-1] - asked, gone - asked


def end(process: subprocess.Popen[bytes]) -> float:
    """End it by force of a signal; gives the seconds until it is gone."""
    asked = time.time()
    process.send_signal(signal.SIGTERM)
    process.wait(LONGEST)
    return time.time() - asked


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    times: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        times.setdefault(what, []).append(seconds)

    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds):
            root = Path(place) / f"run-{number}"
            copies = f"checkpoints.sync_to=file://{place}/attic"
            folder = make_run(root, [*WORDS, copies])
            process, first = start(folder)
            note("start to first step, fresh", first)
            saved, gone = stop(folder, process)
            note("stop asked to checkpoint in place", saved)
            note("stop asked to exit, copy included", gone)
            process, first = start(folder)
            note("start to first step, resumed", first)
            note("SIGTERM to exit", end(process))
            shutil.rmtree(folder.checkpoints)
            process, first = start(folder)
            note("start to first step, from the copy", first)
            end(process)
    fresh = statistics.median(times["start to first step, fresh"])
    print(f"{'what':<38}{'median':>9}{'share':>8}   ({rounds} rounds)")
    for what, taken in times.items():
        median = statistics.median(taken)
        print(f"{what:<38}{median:>7.2f} s{median / fresh:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
