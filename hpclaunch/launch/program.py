"""The door's look at what the job will start: the user's own program, and the packages it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hpclaunch.errors import UserError, nearest
from hpclaunch.plan.neuron import PRECOMPILE, split_program

TRAINER = (
    "torch",
    "accelerate",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "hpclaunch",
    "monitors",
)
LAUNCHER = ("torch", "accelerate", "monitors")
"""Packages that the job needs: with a program of one's own, and with the built-in trainer."""

ON_NEURON = ("torch", "monitors")
"""The same where torchrun starts a program of one's own."""

ANSWER = 20.0
"""Seconds that a Python on a slow file system may take to say what it finds."""

_FIND = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""


def missing(python: Path, names: Sequence[str], cwd: Path) -> list[str]:
    """Return those top-level modules that an environment's Python does not find from `cwd`.

    Nothing is imported. Empty where the Python does not answer: it may be fine in the job.
    """
    program = next((p for p in ("python", "python3") if (python / "bin" / p).exists()), "python")
    try:
        done = subprocess.run(
            [str(python / "bin" / program), "-c", _FIND, *names],
            capture_output=True,
            text=True,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def check_packages(python: Path, names: Sequence[str], cwd: Path) -> None:
    """Refuse an environment without the packages that the job needs. Raises UserError."""
    lacking = missing(python, names, cwd)
    if lacking:
        raise UserError(
            f"the job's Python in {python} lacks {', '.join(lacking)}",
            "install hpclaunch[train] there, or name another environment by --venv",
        )


def check_program(words: Sequence[str], python: Path, cwd: Path, *, modules: bool) -> None:
    """Refuse a program that is not there, or that cannot be started as it is written.

    `modules`: the job loads environment modules, which may bring programs and packages of their
    own. Raises UserError with what was probably meant.
    """
    precompiled, words = split_program(words)
    if precompiled and not modules:
        _check_command(PRECOMPILE, python, cwd)
    if words[0] == "-m":
        _check_module(words[1], python, cwd, modules=modules)
    elif words[0].endswith(".py"):
        _check_file(words[0], cwd)
    elif "/" in words[0]:
        _check_executable(words[0], cwd)
    elif not modules:
        _check_command(words[0], python, cwd)


def _check_module(name: str, python: Path, cwd: Path, *, modules: bool) -> None:
    """Look for a module's package, from the folder that it will be started in."""
    top = name.partition(".")[0]
    if not modules and top.isidentifier() and missing(python, [top], cwd):
        raise UserError(
            f"-m {name}: the Python in {python} finds no module '{top}' from {cwd}",
            "install it there, start from its folder, or name a file: -- train.py",
        )


def _check_file(name: str, cwd: Path) -> None:
    path = cwd / name
    if path.is_dir():
        raise UserError(f"{name} is a folder", "name a file in it, or -- -m PACKAGE")
    if not path.exists():
        raise UserError(f"no program {name} in {cwd}", _meant(path))


def _check_executable(name: str, cwd: Path) -> None:
    path = cwd / name
    if path.is_dir():
        raise UserError(f"{name} is a folder", "name a program in it")
    if not path.exists():
        raise UserError(f"no program {name} in {cwd}", _meant(path))
    if not os.access(path, os.X_OK):
        raise UserError(f"{name} is not executable", f"chmod +x {name}, or -- bash {name}")


def _check_command(name: str, python: Path, cwd: Path) -> None:
    """Look for a command where the job will: in its environment first, then on PATH."""
    path = os.pathsep.join([str(python / "bin"), os.environ.get("PATH", os.defpath)])
    if shutil.which(name, path=path):
        return
    if (cwd / name).is_file():
        how = f"./{name}" if os.access(cwd / name, os.X_OK) else f"bash {name}"
        raise UserError(f"{name} is not on PATH", f"a file of this folder: -- {how}")
    raise UserError(
        f"no program '{name}' on PATH", "write -- train.py, -- ./program or -- -m module"
    )


def _meant(path: Path) -> str:
    """Name the file of the same kind that was probably meant."""
    try:
        there = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    except OSError:
        return f"there is no folder {path.parent}"
    return nearest(path.name, there, most=8) if there else f"{path.parent} has no such files"
