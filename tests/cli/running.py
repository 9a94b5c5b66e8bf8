"""Runs the command line as users do: a process of its own, in a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


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

    def call(self, *words: str, timeout: float = 120) -> Done:
        """Run one command to its end."""
        done = subprocess.run(
            self.argv(*words),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

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
