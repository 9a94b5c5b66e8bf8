"""What sampling costs a training: its steps while the sidecar works, and while it is held still.

    python -m tests.benchmarks.disturbed [MINUTES]

One training of the tiny recipe on two CPU ranks, with eight GPUs of the tests' stand-in library
sampled beside what the host tells. It is sampled ten times a second, for what once a second costs
is lost in the noise; a tick costs what it costs, so a tenth of it is what once a second takes. In
turns of five seconds the sidecar is stopped (SIGSTOP) and let go on, in the order on, off, off, on,
so that a machine that slowly gets faster or slower cancels out of each four. Prints by how much a
step is longer while it is sampled, and between which bounds that lies nineteen times of twenty
(bootstrapped over the fours). Ends with 1 where the lower bound is above what is wanted; says so
where the noise is too great to tell.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hpclaunch.run.events import read_events
from tests.monitors.fake_nvml import build_fake_nvml
from tests.monitors.running import environment
from tests.slurm.harm import sidecars

WANTED = 0.005
FASTER = 10
"""Times as often as once a second."""
TURN_S, SETTLE_S, WARM_UP_S, LONGEST_S = 5.0, 0.3, 10.0, 120.0
ORDER = (True, False, False, True)
DRAWS = 4000
BIN = Path(sys.executable).parent
RECIPE = [
    "training.max_steps=1000000",
    "training.logging_steps=1",
    "training.eval_strategy=no",
    "checkpoints.every_steps=0",
    "tracking.tensorboard=false",
    f"monitoring.interval={1 / FASTER}",
]


@dataclass(frozen=True)
class Turn:
    """A time in which the sidecar worked, or stood still; Unix seconds."""

    on: bool
    begin: float
    end: float


def take_turns(sidecar: int, minutes: float) -> list[Turn]:
    """Stop the sidecar and let it go on, in fours, for so many minutes."""
    turns = []
    for _ in range(max(1, round(minutes * 60 / (len(ORDER) * TURN_S)))):
        for on in ORDER:
            os.kill(sidecar, signal.SIGCONT if on else signal.SIGSTOP)
            begin = time.time()
            time.sleep(TURN_S)
            turns.append(Turn(on, begin + SETTLE_S, time.time()))
    return turns


def mean_step(events: list[dict[str, float]], turn: Turn) -> float:
    """Return the mean seconds of the steps that lie within a turn."""
    return statistics.fmean(
        mark["seconds"]
        for mark in events
        if turn.begin <= mark["time"] - mark["seconds"] and mark["time"] <= turn.end
    )


def ratios(events: list[dict[str, float]], turns: list[Turn]) -> list[float]:
    """Give, of each four turns, how long a step is with the sidecar, without it being 1."""
    found = []
    for first in range(0, len(turns), len(ORDER)):
        four = turns[first : first + len(ORDER)]
        sums = {True: 0.0, False: 0.0}
        for turn in four:
            sums[turn.on] += mean_step(events, turn)
        found.append(sums[True] / sums[False])
    return found


def bounds(values: list[float]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the median, drawn again and again."""
    dice = random.Random(1)  # noqa: S311 - statistics
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(DRAWS))
    return medians[DRAWS // 40], medians[-DRAWS // 40]


def train(place: Path, minutes: float) -> list[float]:
    """Train as a user does, taking turns meanwhile; gives `ratios`."""
    library = build_fake_nvml(place / "nvml")
    variables = environment(library, {"FAKE_NVML_GPUS": "8"})
    variables["PATH"] = f"{BIN}:{os.environ['PATH']}"
    run = place / "runs/bench"
    words = [
        "local",
        "tiny",
        "--cpu-processes",
        "2",
        "--runs-dir",
        str(run.parent),
        "--name",
        run.name,
    ]
    training = subprocess.Popen(
        ["hpclaunch", *words, *RECIPE], env=variables, cwd=place,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    sidecar = None
    try:
        until = time.time() + LONGEST_S
        while not any(mark["event"] == "step" for mark in read_events(run / "events.jsonl")):
            if training.poll() is not None or time.time() > until:
                sys.exit(f"no step was trained; see {run}")
            time.sleep(0.5)
        time.sleep(WARM_UP_S)
        (sidecar,) = sidecars(run)
        turns = take_turns(sidecar, minutes)
    finally:
        if sidecar is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(sidecar, signal.SIGCONT)
        training.send_signal(signal.SIGINT)
        training.wait(LONGEST_S)
    return ratios(
        [mark for mark in read_events(run / "events.jsonl") if mark["event"] == "step"], turns
    )


def main() -> int:
    """Measure and print; returns the exit code."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as place:
        found = train(Path(place), minutes)
    middle, low, high = (each - 1 for each in (statistics.median(found), *bounds(found)))
    print(f"a step is {middle:+.1%} longer while it is sampled {FASTER} times a second")
    print(
        f"({low:+.1%} to {high:+.1%}; median of {len(found)} fours of turns): once a second "
        f"{middle / FASTER:+.2%} ({low / FASTER:+.2%} to {high / FASTER:+.2%}); wanted: "
        f"{WANTED:.1%}"
    )
    if low <= FASTER * WANTED < high:
        print("too noisy to tell whether that is kept: take more minutes")
    return int(low > FASTER * WANTED)


if __name__ == "__main__":
    sys.exit(main())
