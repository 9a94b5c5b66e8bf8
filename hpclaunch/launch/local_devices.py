"""This machine, for local runs: its GPUs and CPU cores."""

from __future__ import annotations

import contextlib
import os


def local_gpus() -> int:
    """Count the NVIDIA GPUs a program started here would see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _driver_gpus()
    if visible is None:
        return found
    return min(found, len([word for word in visible.split(",") if word.strip()]))


def _driver_gpus() -> int:
    """Ask the driver; a machine without one has none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def local_cpus() -> int:
    """Count the CPU cores this process may use."""
    return len(os.sched_getaffinity(0))
