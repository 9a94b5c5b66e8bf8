"""What a fork does to be the Python program that its command line names."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import io
import os
import random
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.forkserver.naming import name_as

CRASHED = 1
"""Exit code of an interpreter that an exception ended."""


def base_path() -> list[str]:
    """Return sys.path without what this process's command line and PYTHONPATH put there."""
    own = set(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return [place for place in sys.path[1:] if place not in own]


def become(
    program: Callable[[], None],
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: Sequence[int],
    *,
    unbuffered: bool = False,
) -> NoReturn:
    """Run a program in this fork as in an interpreter of its own, and end with its exit code.

    `words`: its command line without the interpreter. `streams`: file descriptors of its stdin,
    stdout and stderr; all others are closed.
    """
    code = CRASHED
    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _take_streams(streams, unbuffered or "PYTHONUNBUFFERED" in environment)
        os.environ.clear()
        os.environ.update(environment)
        name_as([sys.executable, *words], environment)
        _seed()
        program()
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
    _leave(code)


def run_python(arguments: Sequence[str], base: Sequence[str]) -> None:
    """Run what `python ARGUMENTS` runs: a module by -m, or a script. `base`: see `base_path`."""
    program, *rest = [word for word in arguments if word not in {"-u", "-P"}]
    set_path(base)
    if program == "-m":
        sys.argv = list(rest)
        if "-P" not in arguments:
            sys.path.insert(0, str(Path.cwd()))
        sys.modules.pop(rest[0], None)  # a new interpreter has not imported it
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *rest]
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")


def set_path(base: Sequence[str]) -> None:
    """Set sys.path to PYTHONPATH and `base`, and import sitecustomize, as an interpreter does."""
    extra = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [*extra, *base]
    importlib.invalidate_caches()
    sys.modules.pop("sitecustomize", None)
    if importlib.util.find_spec("sitecustomize") is not None:
        importlib.import_module("sitecustomize")


def _take_streams(streams: Sequence[int], unbuffered: bool) -> None:
    """Make these file descriptors the first three, close all others, and open Python's streams."""
    high = [os.dup(each) for each in streams]  # above 2, whatever they were
    for number, each in enumerate(high):
        os.dup2(each, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    out: Any = io.FileIO(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        out if unbuffered else io.BufferedWriter(out), write_through=unbuffered
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
        errors="backslashreplace",
        line_buffering=True,
    )


def _seed() -> None:
    """Forks would draw the same numbers; interpreters do not."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return CRASHED


def _leave(code: int) -> NoReturn:
    """End as an interpreter does: threads, hooks, streams; but free nothing that is shared."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what an interpreter calls
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
