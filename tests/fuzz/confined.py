"""Every command that reads a run folder, in a process of its own that is held to its limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpclaunch.cli.main import run
from hpclaunch.errors import UserError
from hpclaunch.launch.resume import redraft
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from monitors.exports.formats import FORMATS
from tests.fuzz.child import Child, Outcome, in_child
from tests.fuzz.groups import STAGES
from tests.fuzz.mutations import SECRET, Mutation, apply

EXPORTS = tuple(FORMATS.keys() - {"tensorboard"})  # which needs TensorFlow's protocol buffers


def calls(folder: Path, out: Path) -> list[Sequence[str]]:
    """Return the command lines; those that write do so in `out` or in the folder."""
    name = str(folder)
    stages = [str(folder.parent / stage) for stage in STAGES]
    return [
        *[["status", stage] for stage in stages],
        ["why", stages[0]],
        ["report", stages[0], "--json", "--html", str(out / "page.html")],
        *[["status", group, *more] for group in ("chain", "many") for more in ([], ["--json"])],
        ["sweep", "--table", "many"],
        ["cancel", "chain"],
        ["eval", "--table"],
        ["merge", name, "--dry-run"],
        ["publish", stages[0], f"file://{out}/copy", "--dry-run"],
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
) -> Outcome:
    """Run everything on a changed copy of a run folder, and return what went wrong.

    `make` makes the copy below a folder. Needs a process without other threads.
    """
    folder = make(place)
    (place / "secret").write_text(SECRET)
    apply(mutations, folder.root.parent)
    return in_child(place, lambda child: _run_all(folder, place, child))


def _run_all(folder: RunFolder, place: Path, child: Child) -> None:
    out = place / "out"
    out.mkdir()
    os.environ.update(HOME=str(place), HPCLAUNCH_RUNS_DIR=str(folder.root.parent), PATH=str(out))
    os.environ.update(XDG_STATE_HOME=str(place), XDG_CONFIG_HOME=str(place))
    os.chdir(out)
    output = os.open(place / "output", os.O_RDWR | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for words in calls(folder.root, out):
        child.begin(" ".join(words[:4]))
        start = os.lseek(output, 0, os.SEEK_END)
        try:
            run(words)
        except BaseException as error:
            child.note(f"raised {error!r}")
        sys.stdout.flush()
        sys.stderr.flush()
        shown = os.pread(output, 1 << 26, start)
        if b"a bug in hpclaunch" in shown:
            child.note(shown[shown.index(b"a bug in hpclaunch") :].decode(errors="replace"))
        if b"\x1b" in shown:
            child.note(f"shows a control character: {shown!r}")
        if SECRET.encode() in shown:
            child.note("shows what a link leads to")
    child.begin("redraft")
    try:
        redraft(folder, read_record(folder), variables={})
    except UserError:
        pass
    except Exception as error:
        child.note(f"raised {error!r}")
