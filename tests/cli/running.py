"""Runs the command line as users do: a process of its own, in a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.forkserver.client import ForkServer, at_start

ROOT = Path(__file__).parents[2]


SERVED = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
"""Variables of the process that commands are forks of."""


@cache
def server() -> ForkServer:
    """Return the process that has the command line's modules imported."""
    return ForkServer(SERVED, "commands")


@dataclass(frozen=True)
class Done:
    """What one call left."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Home:
    """A user's home, empty but for what a test puts there."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    slurm: bool = False

    @property
    def runs(self) -> Path:
        """Where this user's runs go."""
        return self.folder / "runs"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but what a shell has; without Slurm's commands unless asked."""
        path = os.environ["PATH"] if self.slurm else str(self.bare_path())
        return {
            "HOME": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{path}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            **self.variables,
        }

    def bare_path(self) -> Path:
        """Make a folder with the few programs that a script needs, sbatch not among them."""
        folder = self.folder / ".bare"
        if not folder.is_dir():
            folder.mkdir()
            for name in ("bash", "hostname", "mkdir", "rm", "mv", "sleep", "cat", "env", "uname"):
                found = next(
                    (p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists()), None
                )
                if found:
                    (folder / name).symlink_to(found)
        return folder

    def argv(self, *words: str) -> list[str]:
        """The command line as a list of words."""
        return [sys.executable, "-m", "hpclaunch.cli.main", *words]

    def call(self, *words: str, timeout: float = 120, real: bool = False) -> Done:
        """Run one command to its end: as a fork that has its imports behind it, or a `real` one.

        See `tests.forkserver` for what a fork cannot show; a command whose variables change how an
        interpreter starts is real.
        """
        command, environment = self.argv(*words), self.environment
        if real or at_start(environment) != at_start(SERVED):
            done = subprocess.run(
                command,
                env=environment,
                cwd=self.folder,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
        else:
            done = server().run(command[1:], environment, timeout, folder=self.folder)
        return Done(done.returncode, done.stdout, done.stderr)

    def imported(self, words: Sequence[str], names: Sequence[str]) -> set[str]:
        """Return which of these modules a command has imported, in a process of its own."""
        program = (
            "import sys\nfrom hpclaunch.cli.main import run\n"
            f"run({list(words)!r})\n"
            f"print(*[name for name in {list(names)!r} if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stderr.splitlines()[-1].split())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one command; both streams come out of its stdout."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def files(self) -> set[Path]:
        """Everything in this home, but for Python's caches."""
        return {path for path in self.folder.rglob("*") if ".bare" not in path.parts}
