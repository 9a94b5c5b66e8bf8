"""Every command that reads a run folder, in a process of its own that is held to its limits."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpclaunch.cli.main import run
from hpclaunch.errors import UserError
from hpclaunch.launch.resume import redraft
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from tests.fuzz.mutations import SECRET, Mutation

MAX_SECONDS = 90.0
"""Of a whole case, on a machine that does much else."""
MAX_CPU_SECONDS = 20
MAX_BYTES = 1 << 30
EXPORTS = ("csv", "dmon", "vmstat", "openmetrics", "jsonl")
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod",
           "os.truncate", "shutil.rmtree"}  # fmt: skip


def calls(folder: Path, out: Path) -> list[Sequence[str]]:
    """Return the command lines; those that write do so in `out` or in the folder."""
    name = str(folder)
    return [
        *[[command, name, *more] for command in ("status", "why") for more in ([], ["--json"])],
        ["report", name, "--html", str(out / "page.html")],
        ["report", name, "--json", "--html", str(out / "page.html")],
        ["logs", name],
        ["ls"],
        ["ls", "--json"],
        ["watch", name, "--once"],
        ["watch", name, "--once", "--json"],
        *[["export", name, "--to", form, "--out", str(out)] for form in EXPORTS],
        ["adopt", name, "--runs-dir", str(out / "runs"), "--name", "mine"],
        ["stop", name],
        ["cancel", name],
    ]


def problems(
    make: Callable[[Path], RunFolder], mutations: Sequence[Mutation], place: Path
) -> list[str]:
    """Run everything on a changed copy of a run folder, and return what went wrong.

    `make` makes the copy below a folder. Needs a process without other threads.
    """
    folder = make(place)
    (place / "secret").write_text(SECRET)
    for mutate in mutations:
        mutate(folder.root)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            _run_all(folder, place, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return _watch(child, reading)


def _watch(child: int, reading: int) -> list[str]:
    """Wait for the child, and return what it wrote down; the call at work where it hangs."""
    written = b""
    deadline = time.monotonic() + MAX_SECONDS
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(reading, 1 << 16) if ready else b""
        if not piece:
            break
        written += piece
    late = time.monotonic() >= deadline
    if late:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    *messages, last = [json.loads(line) for line in written.splitlines()] or [["", ""]]
    found = [f"{text} in {call}" for call, text in [*messages, last] if text]
    if late:
        found.append(f"hangs in {last[0]}")
    elif status != 0:
        found.append(f"ended with status {status} in {last[0]}")
    return found


def _run_all(folder: RunFolder, place: Path, writing: int) -> None:
    out = place / "out"
    out.mkdir()
    now = [""]

    def note(text: str = "") -> None:
        os.write(writing, json.dumps([now[0], text[:600]]).encode() + b"\n")

    os.environ.update(HOME=str(place), HPCLAUNCH_RUNS_DIR=str(folder.root.parent), PATH=str(out))
    os.environ.update(XDG_STATE_HOME=str(place), XDG_CONFIG_HOME=str(place))
    os.chdir(out)
    sys.dont_write_bytecode = True  # what Python keeps of its modules is no file of a command
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    sys.addaudithook(lambda event, arguments: _check_event(event, arguments, place, note))
    output = os.open(place / "output", os.O_RDWR | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for words in calls(folder.root, out):
        now[0] = " ".join(words[:4])
        note()
        start = os.lseek(output, 0, os.SEEK_END)
        try:
            run(words)
        except BaseException as error:
            note(f"raised {error!r}")
        sys.stdout.flush()
        sys.stderr.flush()
        shown = os.pread(output, 1 << 26, start)
        if b"a bug in hpclaunch" in shown:
            note(shown[shown.index(b"a bug in hpclaunch") :].decode(errors="replace"))
        if b"\x1b" in shown:
            note(f"shows a control character: {shown!r}")
        if SECRET.encode() in shown:
            note("shows what a link leads to")
    now[0] = "redraft"
    note()
    try:
        redraft(folder, read_record(folder), variables={})
    except UserError:
        pass
    except Exception as error:
        note(f"raised {error!r}")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if used > MAX_BYTES:
        note(f"took {used >> 20} MiB")


def _check_event(
    event: str, arguments: tuple[Any, ...], place: Path, note: Callable[[str], None]
) -> None:
    """Write down what a reader must not do: write elsewhere, start a program, send a signal."""
    if event == "open":
        mode, flags = arguments[1], arguments[2] or 0
        if not (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (mode or "r")[0] in "wax"):
            return
    elif event in {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"}:
        note(f"starts {arguments[0]!r}")
        return
    elif event == "os.kill":
        note(f"sends signal {arguments[1]} to {arguments[0]}")
        return
    elif event not in CHANGES:
        return
    path = arguments[0]
    if isinstance(path, int):
        return
    real = os.path.realpath(Path(os.fsdecode(path)).parent)
    if not f"{real}/".startswith(f"{place}/") and os.fsdecode(path) != os.devnull:
        note(f"{event} of {path!r}")
