"""`python -m hpclaunch.train.upload.copier RUN NODE NODES`: uploads a node's share of checkpoints.

A process of its own, at low priority, and not a thread of a rank: a thread would take the
interpreter from the training for each block it reads or sends, and a storage's library that hangs
or crashes would take the rank with it.

The rank that started it holds the other end of its stdin: a line wakes it, a JSON object asks it to
finish, and when the pipe closes it exits at once.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.best import EVAL_LOSS
from hpclaunch.recipe.load import load
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.failure import one_line
from hpclaunch.train.upload.lead_copier import LeadCopier
from hpclaunch.train.upload.node_copier import NodeCopier, log_line
from hpclaunch.train.upload.remote import RemoteFolder, run_url


@dataclass
class PipeRank:
    """The rank that started this process, through the pipe on stdin."""

    finishing: bool = False
    final: bool = False
    """The final weights are there to be copied."""
    _woken: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Start a thread that reads what the rank sends."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        parent, rest = os.getppid(), b""
        while os.getppid() == parent:  # other children of the rank may hold the pipe open
            if not select.select([0], [], [], 1.0)[0]:
                continue
            new = os.read(0, 4096)
            if not new:
                break
            *lines, rest = (rest + new).split(b"\n")
            for line in lines:
                if line.startswith(b"{"):
                    self.final = bool(json.loads(line).get("final"))
                    self.finishing = True
            self._woken.set()
        os._exit(0)

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until the rank sends something."""
        self._woken.wait(seconds)
        self._woken.clear()


def main(arguments: list[str]) -> int:
    """Copy for a run, as one of NODES copiers; return the exit code."""
    if len(arguments) != 3:
        print("usage: python -m hpclaunch.train.upload.copier RUN NODE NODES", file=sys.stderr)
        return 2
    rank = PipeRank()
    rank.listen()
    os.nice(10)
    run = RunFolder(Path(arguments[0]))
    settings = load(str(run.recipe)).checkpoints
    node, nodes = int(arguments[1]), int(arguments[2])
    try:
        remote = RemoteFolder(run_url(settings.sync_to or "", run))
    except UserError as error:
        log_line(one_line(error))
        return 1
    if node == 0:
        best = settings.best == EVAL_LOSS  # a score chooses in RUN, not among copies
        LeadCopier(run, remote, node, nodes, keep=settings.keep, keep_best=best).lead(rank)
    else:
        NodeCopier(run, remote, node, nodes).follow(rank)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
