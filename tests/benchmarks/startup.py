"""Start-up times of the command line against `accelerate launch --help`, in turns in one run.

    python -m tests.benchmarks.startup [ROUNDS]

Ends with 1 where a command takes more than a fifteenth of accelerate's time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARE = 1 / 15
YARDSTICK = ["accelerate", "launch", "--help"]
COMMANDS = [
    ["hpclaunch", "--help"],
    ["hpclaunch", "sbatch", "--nodes", "4", "--gpus", "4", "--gpu", "a100_40", "--dry-run"],
    ["hpclaunch", "config", "--nodes", "4", "--gpus", "4"],
    ["hpclaunch", "recipes", "ls"],
]


def seconds(command: list[str], folder: Path) -> float:
    """Run one command of this environment; gives its wall time in seconds."""
    program = Path(sys.executable).with_name(command[0])
    # Slurm's commands are left out: how fast a controller answers is not ours.
    variables = {**os.environ, "PATH": str(program.parent)}
    # As for a user: compiled code is kept.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    subprocess.run(
        [str(program), *command[1:]], cwd=folder, env=variables, check=True, capture_output=True
    )
    return time.perf_counter() - begin


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds + 1):
            for command in [YARDSTICK, *COMMANDS]:
                took = seconds(command, Path(place))
                if number:  # the first round fills the caches
                    times.setdefault(" ".join(command), []).append(took)
    yardstick = statistics.median(times[" ".join(YARDSTICK)])
    print(f"{'command':<70}{'median':>9}{'share':>9}   ({rounds} rounds)")
    worst = 0.0
    for name, taken in times.items():
        median = statistics.median(taken)
        share = median / yardstick
        worst = max(worst, share if name != " ".join(YARDSTICK) else 0.0)
        print(f"{name:<70}{median:>7.3f} s{f'1/{1 / share:.1f}':>9}")
    print(f"wanted: at most 1/{1 / SHARE:.0f}; worst: 1/{1 / worst:.1f}")
    return 0 if worst <= SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
