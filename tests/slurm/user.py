"""A user on the throwaway cluster's login node: types commands, reads what comes back."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.running import server
from tests.forkserver.site.sitecustomize import SOCKET
from tests.slurm.cluster import ThrowawayCluster

ROOT = Path(__file__).parents[2]

# What the ranks say of themselves; without torch, light enough for sixteen on a small machine.
SHOW_RANK = """\
import json, os, socket, sys, time
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES",
         "FSDP_VERSION", "ACCELERATE_MIXED_PRECISION", "SLURM_JOB_ID", "HF_TOKEN"]
said = {name: os.environ.get(name) for name in names}
said_by = {"host": socket.gethostname(), "argv": sys.argv[1:]}
# In one write: print() makes two, and another process's line may come between.
os.write(1, (json.dumps(said | said_by) + chr(10)).encode())
if "sleep" in sys.argv:
    time.sleep(300)
if "struck" in sys.argv:
    time.sleep(1 if said["RANK"] == "1" else 300)
    os.kill(os.getpid(), 9)
if "fail" in sys.argv and said["RANK"] == "3":
    raise ValueError("rank three is unhappy")
"""


@dataclass(frozen=True)
class User:
    """Commands run in `folder`, which holds show_rank.py, against the cluster."""

    cluster: ThrowawayCluster
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """A login shell's variables, with a home of its own."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(Path("~/.cache").expanduser()),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            **self.cluster.exports,
            **self.variables,
        }

    def argv(self, *words: str) -> list[str]:
        """The hpclaunch command line as a list of words."""
        return [sys.executable, "-P", "-m", "hpclaunch.cli.main", *words]

    def run(self, *argv: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run any command."""
        return subprocess.run(
            argv,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    def hpclaunch(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run an hpclaunch command, as a fork where the trainings are (see `tests.forkserver`)."""
        command = self.argv(*words)
        if SOCKET not in self.variables:
            return self.run(*command, timeout=timeout)
        return server().run(command[1:], self.environment, timeout, folder=self.folder)

    def follow(self, *words: str) -> subprocess.Popen[str]:
        """Start an hpclaunch command whose output is read later."""
        return self._started(words, subprocess.DEVNULL)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start an hpclaunch command that runs beside others."""
        return self._started(words, subprocess.PIPE)

    def _started(self, words: Sequence[str], stderr: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def jobs_left(self, seconds: float = 30) -> str:
        """Wait until the cluster has no job any more; gives those that it still has."""
        deadline = time.monotonic() + seconds
        while (left := self.run("squeue", "--noheader").stdout) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def status(self, run: str) -> dict[str, Any]:
        """What `status --json` says."""
        said: dict[str, Any] = json.loads(self.hpclaunch("status", run, "--json").stdout)
        return said


def ranks_in(text: str) -> list[dict[str, Any]]:
    """What show_rank.py's processes said, by rank."""
    lines = [line.partition("| ")[2] or line for line in text.splitlines()]
    found = [json.loads(line) for line in lines if line.startswith('{"RANK"')]
    return sorted(found, key=lambda said: int(said["RANK"]))


class Terminal:
    """A command under a terminal of its own, as a person has it."""

    def __init__(self, user: User, *argv: str) -> None:
        self.said = ""
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.chdir(user.folder)
            os.execvpe(argv[0], list(argv), user.environment)

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._screen, text.encode())

    def wait_for(self, words: str, seconds: float = 120) -> None:
        """Read until `words` have been said."""
        deadline = time.monotonic() + seconds
        while words not in self.said:
            if not self._read(deadline):
                self.kill()
                raise AssertionError(f"never said {words!r}, but:\n{self.said}")

    def end(self, seconds: float = 60) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        if time.monotonic() > deadline:
            self.kill()
            raise AssertionError(f"did not end, but said:\n{self.said}")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """End it by force."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _read(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            if select.select([self._screen], [], [], 0.2)[0]:
                try:
                    new = os.read(self._screen, 65536)
                except OSError:  # how Linux says that nobody has the terminal open any more
                    return False
                self.said += new.decode(errors="replace")
                return bool(new)
        return False
