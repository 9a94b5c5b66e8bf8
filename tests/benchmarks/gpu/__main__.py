"""This product on one real GPU: memory and step time against `plan`, and what levers bring.

    python -m tests.benchmarks.gpu KIND [PART ...]

KIND is the GPU type as `hpclaunch plan --gpu` takes it: h100, h200, a100_80. The parts, some ten
minutes in all on an H200; one that fails does not keep the others from running:

    runs      8B LoRA (with nvidia-smi dmon beside the sidecar) and QLoRA, by `hpclaunch local`
    levers    attention, packing, activation checkpointing, adapters' dtype: a plain training loop
    qlora70   a 70B whose 4-bit weights are made in place
    short     8B LoRA on short samples, as the recipe has it, and TRL's own command line beside it
    matrix    1B to 8B, full, LoRA, QLoRA, three lengths each: half an hour, only where it is named

Needs some 20 GB of disk. HPCLAUNCH_BENCH_TINY=1 runs it with tiny models, on CPUs, to try it out.
Ends with 1 where a part failed, a predicted peak is off by more than 5%, or a step by over 15%.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from tests.benchmarks.gpu import levers, runs
from tests.benchmarks.gpu.sizes import TINY

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
BEGAN = time.monotonic()

Part = Callable[[Path, str], bool]
"""Measures into a folder for a GPU type, prints rows; returns whether all is within its limits."""

PARTS: dict[str, Part] = {
    "runs": runs.long_samples,
    "levers": levers.small,
    "qlora70": levers.large,
    "short": runs.short_samples,
    "matrix": runs.matrix,
}
BY_DEFAULT = ("runs", "levers", "qlora70", "short")


def main() -> int:
    """Run the parts that are named; returns the exit code."""
    import torch

    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= PARTS.keys():
        sys.exit(f"python -m tests.benchmarks.gpu KIND [{' | '.join(PARTS)} ...]")
    if not torch.cuda.is_available() and not TINY:
        sys.exit("no GPU that PyTorch can use")
    gpu = "CPU" if TINY else torch.cuda.get_device_name()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    print(f"{gpu}, Python {platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}")
    within = True
    with tempfile.TemporaryDirectory() as place:
        for name in sys.argv[2:] or BY_DEFAULT:
            try:
                within &= PARTS[name](Path(place), sys.argv[1])
            except Exception:
                traceback.print_exc(limit=4)
                within = False
            print(f"({name}: done after {time.monotonic() - BEGAN:.0f} s)\n", flush=True)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
