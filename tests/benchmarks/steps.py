"""Step time of `hpclaunch local` against the same training typed by hand, in turns in one run.

    python -m tests.benchmarks.steps [ROUNDS]

What is compared is what hpclaunch adds while training: the sidecar and the script around it. Ends
with 1 where a step takes more than 2 % longer.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MORE = 0.02
STEPS = 120
WARM_UP = 20
OVERRIDES = [
    f"training.max_steps={STEPS}",
    "training.logging_steps=1",
    "training.eval_strategy=no",
    "checkpoints.every_steps=0",
]
BIN = Path(sys.executable).parent


def step_times(folder: Path) -> list[float]:
    """Return the seconds of every step after the first ones."""
    marks = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [mark["seconds"] for mark in marks if mark["event"] == "step"][WARM_UP:]


def by_hpclaunch(runs: Path, name: str) -> list[float]:
    """Train as a user does."""
    _run(["hpclaunch", "local", "tiny", *OVERRIDES, "--runs-dir", str(runs), "--name", name], runs)
    return step_times(runs / name)


def by_hand(runs: Path, name: str, like: Path) -> list[float]:
    """Train with the same files and the same variables, typed: no script, no sidecar."""
    folder = runs / name
    folder.mkdir()
    for file in ("recipe.yaml", "accelerate.yaml"):
        shutil.copy(like / file, folder / file)
    (folder / "logs").mkdir()
    (folder / "metrics").mkdir()
    variables = {
        line.removeprefix("export ").partition("=")[0]: line.partition("=")[2]
        for line in (like / "job.sbatch").read_text().splitlines()
        if line.startswith(("export OMP_", "export ACCELERATE_", "export TOKENIZERS_"))
    }
    _run(
        ["accelerate", "launch", "--config_file", str(folder / "accelerate.yaml"),
         "--main_process_port", "29611", "-m", "hpclaunch.train", str(folder)],
        runs,
        variables,
    )  # fmt: skip
    return step_times(folder)


def _run(command: list[str], folder: Path, more: dict[str, str] | None = None) -> None:
    variables = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **(more or {})}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ours: list[float] = []
    typed: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place)
        for number in range(rounds):
            ours += by_hpclaunch(runs, f"ours-{number}")
            typed += by_hand(runs, f"typed-{number}", runs / f"ours-{number}")
    a, b = statistics.median(ours), statistics.median(typed)
    print(f"hpclaunch local    {a * 1000:8.1f} ms a step (median of {len(ours)})")
    print(f"accelerate launch  {b * 1000:8.1f} ms a step (median of {len(typed)})")
    print(f"ratio {a / b:.3f}; wanted: at most {1 + MORE:.2f}")
    return 0 if a / b <= 1 + MORE else 1


if __name__ == "__main__":
    sys.exit(main())
