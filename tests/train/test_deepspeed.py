"""`--engine deepspeed` for real: ZeRO-3 on two CPU ranks, trained, saved, gone on with."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import ROOT

INSTALLED = Path(sys.prefix) / "deepspeed"
"""Where `make deepspeed` installs it."""
HERE = INSTALLED.is_dir() or importlib.util.find_spec("deepspeed") is not None

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(not HERE, reason="DeepSpeed is not installed: make deepspeed"),
]


def started(home: Path, name: str, steps: int) -> list[dict[str, Any]]:
    """Run the program for so many steps in all; return what its first rank printed of each."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT}:{INSTALLED}",
        "PATH": f"{INSTALLED / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TORCH_EXTENSIONS_DIR": str(Path(sys.prefix) / "deepspeed-built"),
    }
    words = ["local", "--name", name, "--cpu-processes", "2", "--engine", "deepspeed", "--"]
    program = [str(ROOT / "tests/train/zero3.py"), str(home / "out"), str(steps)]
    done = subprocess.run(
        [sys.executable, "-m", "hpclaunch.cli.main", *words, *program],
        env=environment, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if '{"step"' in line]
    return [json.loads(line) for line in lines]


def test_zero3_trains_saves_and_goes_on(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "out").mkdir()
    first = started(tmp_path, "first", 3)
    rest = started(tmp_path, "rest", 6)
    assert [line["step"] for line in first + rest] == [1, 2, 3, 4, 5, 6]
    assert {line["ranks"] for line in first + rest} == {2}
    whole = load_file(tmp_path / "out/weights.safetensors")
    parameters = sum(each.numel() for each in whole.values())
    assert first[0]["held"] < 0.6 * parameters, "each rank holds its part"
    (tmp_path / "out/step").unlink()
    straight = started(tmp_path, "straight", 6)
    assert straight[0]["loss"] == pytest.approx(first[0]["loss"])
    assert straight[-1]["loss"] == pytest.approx(rest[-1]["loss"], rel=1e-2), "as without a stop"
