"""Forks behave as the programs that they stand for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forkserver.client import at_import
from tests.train.running import environment, launch_command, make_run, run_program

pytestmark = pytest.mark.train

PROGRAM = """
import atexit, json, os, sys
atexit.register(print, "hook")
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "own": os.environ.get("OWN"), "name": __name__,
    "session": os.getsid(0), "pid": os.getpid(), "given": sys.stdin.read(),
}), flush=True)
print("problem", file=sys.stderr)
WHAT
"""


def both(path: Path, what: str, **more: str) -> list[tuple[int, dict[str, object], list[str], str]]:
    """Return how a program ends as a fork and as a new interpreter: code, what it saw, the rest."""
    path.write_text(PROGRAM.replace("WHAT", what))
    found = []
    for real in (False, True):
        command = [sys.executable, str(path), "a b", "-m"]
        done = run_program(command, 60, environment(**more), stdin="typed", real=real)
        first, *rest = done.out.splitlines()
        found.append((done.code, json.loads(first), rest, done.err))
    return found


@pytest.mark.parametrize(
    "what",
    [
        "sys.exit(3)",
        "sys.exit('reason')",
        "raise ValueError('bad')",
        "os._exit(4)",
        "os.kill(os.getpid(), 15)",
        "import threading, time; threading.Timer(0.2, print, ['late']).start()",
    ],
)
def test_a_fork_ends_as_the_program_does(tmp_path: Path, what: str) -> None:
    (code, seen, rest, err), (real_code, real_seen, real_rest, real_err) = both(
        tmp_path / "program.py", what, OWN="x"
    )
    assert (code, rest) == (real_code, real_rest)
    for name in ("argv", "path", "own", "name", "given"):
        assert seen[name] == real_seen[name]
    assert err.splitlines()[0] == "problem"
    assert err.splitlines()[-1:] == real_err.splitlines()[-1:]


def test_python_reads_the_callers_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os; os.environ['OWN'] = 'site'")
    ends = both(tmp_path / "program.py", "", PYTHONPATH=str(tmp_path / "site"))
    assert [seen["own"] for _, seen, _, _ in ends] == ["site", "site"]


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    pid = tmp_path / "pid"
    path.write_text(
        f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run_program([sys.executable, str(path)], 2, environment())
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_other_variables_at_import_need_a_new_interpreter() -> None:
    same, other = environment(OWN="x"), environment(HF_HOME="/elsewhere")
    assert at_import(same) == at_import(environment())
    assert at_import(other) != at_import(environment())


def test_a_test_may_leave_variables_behind() -> None:
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # as accelerate does, wherever it is called
    os.environ["OMP_NUM_THREADS"] = "7"


def test_the_next_test_does_not_find_them() -> None:
    assert "ACCELERATE_MIXED_PRECISION" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "1"


RANK = """
import json, os, pathlib, signal, sys, time
note = {"parent": os.getppid(), "session": os.getsid(0), "pid": os.getpid()}
pathlib.Path(sys.argv[-1], os.environ["RANK"] + ".json").write_text(json.dumps(note))
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


def test_ranks_are_the_launchers_children_and_one_that_dies_ends_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    program = tmp_path / "rank.py"
    program.write_text(RANK)
    began = time.monotonic()
    done = run_program(launch_command(folder, 2, [str(program)]), 60, environment())
    assert time.monotonic() - began < 50, "the other rank was ended, not waited for"
    notes = [json.loads((folder.root / f"{rank}.json").read_text()) for rank in range(2)]
    assert done.code == 1
    assert f"exitcode: {-signal.SIGKILL}" in done.err.replace("exitcode  :", "exitcode:")
    assert notes[0]["parent"] == notes[1]["parent"] != os.getpid()
    assert [note["session"] for note in notes] == [note["pid"] for note in notes]
