"""Runs a rendered local script for real, with stand-ins for `accelerate-launch` and `python`.

The stand-ins write down what they were called with, byte by byte, and then behave as told.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from hpclaunch.plan.resources import PythonEnvironment
from hpclaunch.render.static_scripts import static_scripts
from hpclaunch.run.folder import RunFolder, write_atomic

ACCELERATE = """#!/bin/bash
printf '%s\\0' "$@" >{notes}/argv
env -0 >{notes}/environ
pwd -P >{notes}/cwd
echo $$ >{notes}/training.pid
# No training is over before the sidecar beside it has begun.
for ((i = 0; i < 100; i++)); do [ ! -e {notes}/sidecar.pid ] || break; sleep 0.02; done
{training}
"""
PYTHON = """#!/bin/bash
[ "$1" != -P ] || shift
case "$2" in
hpclaunch.train.loopback)
    shift 2
    exec "${0%/*}/accelerate-launch" "$@"
    ;;
hpclaunch.train.prepare)
    printf '%s\\0' "$@" >{notes}/prepare
    echo $$ >{notes}/prepare.pid
    {prepare}
    ;;
monitors.recorder)
    printf '%s\\0' "$@" >{notes}/sidecar
    echo $$ >{notes}/sidecar.pid
    {sidecar}
    ;;
esac
"""
UNTIL_STOPPED = (
    "trap 'touch {notes}/%s.stopped; exit %d' TERM; echo 1 >{notes}/%s.ready; "
    "while :; do sleep 0.02; done"
)
SECONDS = 20.0


def until_stopped(who: str, code: int = 0) -> str:
    """What a stand-in does to work until SIGTERM, and then to end with `code`.

    It leaves the note `who`.ready once it would.
    """
    return UNTIL_STOPPED % (who, code, who)


@dataclass(frozen=True)
class Stage:
    """A folder with the stand-ins, and what they are to do."""

    root: Path
    training: str = "exit 0"
    prepare: str = "exit 0"
    sidecar: str = "exit 1"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    def python(self) -> PythonEnvironment:
        """Write the stand-ins, as an environment for a Launch."""
        folder = self.root / "env" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        self.notes.mkdir(exist_ok=True)
        for name, text in (("accelerate-launch", ACCELERATE), ("python", PYTHON)):
            # twice: what the parts say about {notes} is filled in by the second
            parts = {"training": self.training, "prepare": self.prepare, "sidecar": self.sidecar}
            filled = text
            for key, value in (*parts.items(), ("notes", str(self.notes))):
                filled = filled.replace("{" + key + "}", value)
            (folder / name).write_text(filled)
            (folder / name).chmod(0o755)
        return PythonEnvironment(folder.parent, "prefix")

    def start(self, folder: RunFolder, script: str) -> subprocess.Popen[str]:
        """Write the script into the run folder as the launcher does, and start it."""
        write_script(folder, script)
        return subprocess.Popen(
            ["/bin/bash", str(folder.script)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.root)} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, folder: RunFolder, script: str) -> tuple[int, str]:
        """Run the script to its end; gives its exit code and what it said."""
        return finish(self.start(folder, script))

    def read(self, name: str) -> list[str]:
        """Return the words that a stand-in wrote down."""
        return (self.notes / name).read_bytes().decode().split("\0")[:-1]

    def environ(self) -> dict[str, str]:
        """Return the variables that the training saw."""
        return dict(entry.split("=", 1) for entry in self.read("environ"))

    def wait_for(self, name: str) -> Path:
        """Wait until a stand-in has left a note."""
        deadline = time.monotonic() + SECONDS
        while not (self.notes / name).is_file() or not (self.notes / name).read_bytes():
            assert time.monotonic() < deadline, f"no {name} within {SECONDS} s"
            time.sleep(0.01)
        return self.notes / name

    def alive(self, who: str) -> bool:
        """Return whether a stand-in that left its pid still runs."""
        try:
            os.kill(int((self.notes / f"{who}.pid").read_text()), 0)
        except ProcessLookupError:
            return False
        return True


def write_script(folder: RunFolder, script: str) -> None:
    """Write a script and the static files beside it, as the launcher does."""
    folder.root.mkdir(parents=True, exist_ok=True)
    write_atomic(folder.script, script, mode=0o755)
    for name, text in static_scripts().items():
        write_atomic(folder.root / name, text)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a script; one that hangs is ended with everything it started, and fails."""
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output
