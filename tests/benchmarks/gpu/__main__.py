"""This product on one real GPU: right first, then memory and step time, and what levers bring.

    python -m tests.benchmarks.gpu KIND [PART ...]

KIND is the GPU type as `hpclaunch plan --gpu` takes it: h100, h200, a100_80. The parts, under ten
minutes in all on an H200; each is a process of its own with a time limit, so that one that fails or
hangs costs no other:

    equality  packed samples against each alone, kernels and fused layers against 32 bits
    levers    attention, packing, activation checkpointing, fused layers and loss, one by one
    short     8B LoRA on short samples, packed and not, and TRL's own command line beside it
    runs      8B LoRA (with nvidia-smi dmon beside the sidecar) and QLoRA, by `hpclaunch local`
    unsharded the same two methods with fsdp.sharding=none beside full
    resume    a run that is stopped and resumed, beside one that was not
    liger     Liger's kernels in the same plain training loop
    compile   layers compiled one by one, in the same loop
    qlora70   a 70B whose 4-bit weights are made in place
    matrix    1B to 8B, full, LoRA, QLoRA, three lengths each: half an hour, only where it is named

Needs some 20 GB of disk. HPCLAUNCH_BENCH_TINY=1 runs it with tiny models, on CPUs, to try it out;
HPCLAUNCH_BENCH_SECONDS is the time for all parts, 570 where it is not set. Ends with 1 where a part
failed, figures differ that should not, a predicted peak is off by more than 5%, or a step by over
15%.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from tests.benchmarks.gpu import equality, levers, resumed, runs
from tests.benchmarks.gpu.sizes import TINY

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
FOLDER = "HPCLAUNCH_BENCH_FOLDER"
"""Variable by which a part, in its own process, gets the folder that the parts share."""
ALL_S = float(os.environ.get("HPCLAUNCH_BENCH_SECONDS", "570"))
"""Seconds for all parts that are not named."""

Part = Callable[[Path, str], bool]
"""Measures into a folder for a GPU type, prints rows; returns whether all is within its limits."""

PARTS: dict[str, tuple[Part, float]] = {
    "equality": (equality.check, 90),
    "levers": (levers.small, 150),
    "short": (runs.short_samples, 170),
    "runs": (runs.long_samples, 270),
    "unsharded": (runs.unsharded, 300),
    "resume": (resumed.resumed, 300),
    "liger": (levers.liger, 60),
    "compile": (levers.compiled, 120),
    "qlora70": (levers.large, 120),
    "matrix": (runs.matrix, 3600),
}
"""With the most seconds that each may take."""
BY_DEFAULT = ("equality", "levers", "short", "runs", "liger", "compile", "qlora70")


def main() -> int:
    """Run the parts that are named; returns the exit code."""
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= PARTS.keys():
        sys.exit(f"python -m tests.benchmarks.gpu KIND [{' | '.join(PARTS)} ...]")
    kind, parts = sys.argv[1], sys.argv[2:]
    if FOLDER in os.environ:
        return alone(parts[0], Path(os.environ[FOLDER]), kind)
    began, within = time.monotonic(), True
    headline()
    with tempfile.TemporaryDirectory() as folder:
        for name in parts or BY_DEFAULT:
            left = PARTS[name][1] if parts else ALL_S - (time.monotonic() - began)
            within &= start(name, folder, kind, min(left, PARTS[name][1]))
            print(f"({name}: done after {time.monotonic() - began:.0f} s)\n", flush=True)
    return 0 if within else 1


def headline() -> None:
    """Print the GPU and the versions."""
    import torch

    if not torch.cuda.is_available() and not TINY:
        sys.exit("no GPU that PyTorch can use")
    gpu = "CPU" if TINY else torch.cuda.get_device_name()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    line = f"{gpu}, Python {platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}"
    print(line, flush=True)


def start(name: str, folder: str, kind: str, seconds: float) -> bool:
    """Run a part in a process of its own, at most so many seconds; returns whether it was right."""
    if seconds < 20:
        print(f"({name}: no time left)", flush=True)
        return False
    command = [sys.executable, "-m", "tests.benchmarks.gpu", kind, name]
    process = subprocess.Popen(
        command, env={**os.environ, FOLDER: folder}, process_group=0
    )  # its programs end with it
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # a run's own program then ends its ranks
        time.sleep(10)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"({name}: stopped after {seconds:.0f} s)", flush=True)
        return False


def alone(name: str, folder: Path, kind: str) -> int:
    """Run one part here; returns the exit code."""
    try:
        return 0 if PARTS[name][0](folder, kind) else 1
    except Exception:
        traceback.print_exc(limit=4)
        return 1


if __name__ == "__main__":
    sys.exit(main())
