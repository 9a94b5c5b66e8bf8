"""Real Unix accounts on the throwaway cluster: other users than the one that runs the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from tests.cli.running import ROOT
from tests.slurm.cluster import ThrowawayCluster


@dataclass(frozen=True)
class Account:
    """A user with a home of its own, who types commands there."""

    cluster: ThrowawayCluster
    name: str
    home: Path
    python: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[int, int]:
        """The numbers of the user and of its group."""
        entry = pwd.getpwnam(self.name)
        return entry.pw_uid, entry.pw_gid

    def run(self, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run any command as this user."""
        user, group = self.ids
        return subprocess.run(
            argv,
            user=user,
            group=group,
            extra_groups=[],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.home),
                "USER": self.name,
                "PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LC_ALL": "C.UTF-8",
                **self.cluster.exports,
                **self.variables,
            },
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def hpclaunch(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an hpclaunch command as this user."""
        return self.run(self.python, "-P", "-m", "hpclaunch.cli.main", *words)

    def write(self, path: Path, text: str) -> Path:
        """Write a file of this user's, with the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for each in (path, *path.parents):
            if each.is_relative_to(self.home):
                os.chown(each, *self.ids)
        return path


def python_for_all() -> str | None:
    """Return a Python that every user may run and that knows our packages, None without one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/bin")):
        if candidate is None:
            continue
        nobody = pwd.getpwnam("nobody")
        try:
            trial = subprocess.run(
                [candidate, "-c", "import click, msgspec, yaml, jinja2, hpclaunch.cli.main"],
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}"},
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if trial.returncode == 0:
            return candidate
    return None
