"""A run that is stopped and goes on, on one GPU: the same losses as one that was not stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from tests.benchmarks.calling import call
from tests.benchmarks.gpu.runs import options, prepare
from tests.benchmarks.gpu.sizes import LENGTH, TINY
from tests.benchmarks.material import write_text

STEPS, STOP_AFTER = 8, 3
CLOSE = 2e-3
"""Part of a loss by which two runs may differ: sums on a GPU have no fixed order."""
PATIENCE_S = 240.0


def resumed(folder: Path, kind: str) -> bool:
    """Train once through and once stopped and resumed; returns whether the losses agree."""
    del kind
    if not (folder / "model").exists():
        prepare(folder, "meta-llama/Llama-3.1-8B")
    write_text(folder / "data.jsonl", 64, LENGTH)
    words = options("lora", 1, STEPS, "checkpoints.every_steps=100")
    where = ["--cpu-processes", "1"] if TINY else ["--gpus", "1"]
    start = ["local", "recipe.yaml", *where, "--runs-dir", "runs", *words, "--name"]
    call(folder, *start, "through")
    _stopped(folder, [*start, "stopped"])
    began = time.monotonic()
    call(folder, "resume", "runs/stopped")
    print(f"(resumed and done in {time.monotonic() - began:.0f} s)", flush=True)
    wanted, found = (_losses(folder / "runs" / name) for name in ("through", "stopped"))
    pairs = {step: (loss, found.get(step)) for step, loss in wanted.items()}
    for step, (loss, again) in pairs.items():
        shown = "none" if again is None else f"{again:.5f}"
        print(f"| step {step} | through {loss:.5f} | stopped and resumed {shown} |", flush=True)
    saved = [
        event
        for event in read_events(folder / "runs/stopped/events.jsonl")
        if event["event"] == "checkpoint"
    ]
    print(f"| checkpoint | {saved[-1] if saved else 'none'} |", flush=True)
    return all(again is not None and abs(again - loss) <= CLOSE * loss
               for loss, again in pairs.values())  # fmt: skip


def _stopped(folder: Path, words: list[str]) -> None:
    """Start a run, and ask it to stop once it has made some steps."""
    run = RunFolder(folder / "runs" / words[-1])
    program = Path(sys.executable).with_name("hpclaunch")
    log = (folder / "stopped.log").open("w")
    process = subprocess.Popen([str(program), *words], cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        steps = [e for e in read_events(run.events) if e["event"] == "step"]
        if len(steps) >= STOP_AFTER:
            call(folder, "stop", str(run.root))
            break
        time.sleep(0.05)
    process.wait(timeout=PATIENCE_S)


def _losses(run: Path) -> dict[int, float]:
    """Return the loss of each step; of one that was made twice the later one."""
    events = read_events(run / "events.jsonl")
    return {event["step"]: event["loss"] for event in events if event["event"] == "step"}
