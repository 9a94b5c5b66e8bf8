"""Planning: how long `hpclaunch plan` takes beside `accelerate estimate-memory`, in one run.

    python -m tests.benchmarks.plan [ROUNDS]

accelerate builds the model's modules to count its weights; both are given a config.json of the 8B
Llama in a folder. `--exact` is run once, on the 70B. Ends with 1 where a limit is broken.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.predict.shapes import SHAPES

PLAN_SECONDS, COMPARE_SECONDS, EXACT_SECONDS = 0.3, 2.0, 60.0
MACHINES = ["--nodes", "4", "--gpus", "4", "--gpu", "a100_80", "--network", "200gb"]


def seconds(command: list[str], folder: Path) -> float:
    """Run one command of this environment; gives its wall time in seconds."""
    program = Path(sys.executable).with_name(command[0])
    here = Path(__file__).parents[2]
    variables = {**os.environ, "PATH": str(program.parent), "PYTHONPATH": str(here)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    done = subprocess.run(
        [str(program), *command[1:]],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return time.perf_counter() - begin


def model(folder: Path, shape: str) -> str:
    """Write a config.json; gives the name of its folder."""
    place = folder / shape
    place.mkdir()
    extra = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
    (place / "config.json").write_text(json.dumps({**SHAPES[shape], **extra}))
    return f"./{shape}"


def main() -> int:
    """Measure and print; returns the exit code."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    broken = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small, large = model(folder, "8b"), model(folder, "70b")
        plan = ["hpclaunch", "plan", "llama3-8b-lora", "--model", small, *MACHINES]
        parts = ("per_device_train_batch_size=2", "gradient_accumulation_steps=240")
        batch = [f"training.{each}" for each in ("global_batch=null", *parts)]
        many = [*plan, *batch, "--compare", "--json"]
        # Without the hub, which the command asks whatever it is given.
        theirs = ["python", "-m", "tests.benchmarks.estimator", str(folder / small)]
        limits = {"plan": PLAN_SECONDS, "plan --compare": COMPARE_SECONDS}
        commands = {"plan": plan, "plan --compare": many, "accelerate estimate-memory": theirs}
        times: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for name, command in commands.items():
                took = seconds(command, folder)
                if number:  # the first round fills the caches
                    times.setdefault(name, []).append(took)
        yardstick = statistics.median(times["accelerate estimate-memory"])
        for name, taken in times.items():
            median = statistics.median(taken)
            broken |= median > limits.get(name, median)
            print(f"{name:<28}{median:>7.2f} s   1/{yardstick / median:.1f} of accelerate's")
        exact = seconds(
            ["hpclaunch", "plan", "--model", large, *MACHINES, "--exact", "--json"], folder
        )
        broken |= exact > EXACT_SECONDS
        print(f"{'plan --exact, 70B':<28}{exact:>7.1f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
