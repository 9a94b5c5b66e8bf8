"""Builds the stand-in for NVIDIA's library; put its folder into LD_LIBRARY_PATH to use it.

What it does is switched by the environment variables that `fake_nvml.c` lists at its top.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build_fake_nvml(target_dir: Path) -> Path:
    """Compile `libnvidia-ml.so.1` into `target_dir` (created if missing); returns that folder."""
    target_dir.mkdir(parents=True, exist_ok=True)
    library = target_dir / "libnvidia-ml.so.1"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return target_dir
