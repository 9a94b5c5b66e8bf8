"""`python -m hpclaunch.train.upload.copier RUN`: copies checkpoints away, one process a node.

A process of its own, at low priority, and not a thread of a rank: a thread would take the
interpreter from the training each time it sums or sends a block, and a storage's library that
hangs or crashes would take the rank with it.

Its life hangs on the pipe to the rank that started it: a line wakes it, a JSON object asks it to
finish, and the pipe's end is its own end, whatever it is doing.
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
from hpclaunch.recipe.load import load
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.failure import one_line
from hpclaunch.train.upload.node import First, Node, say
from hpclaunch.train.upload.remote import Remote, of_run


@dataclass
class Parent:
    """The rank that started this process, at the other end of the pipe."""

    finishing: bool = False
    final: bool = False
    """The final weights are there to be copied."""
    _woken: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Read what it says from now on, in a thread that does nothing else."""
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
        """Wait for so long, or until it says something."""
        self._woken.wait(seconds)
        self._woken.clear()


def main(arguments: list[str]) -> int:
    """Copy for the run, node and number of nodes given; return the exit code."""
    if len(arguments) != 3:
        print("usage: python -m hpclaunch.train.upload.copier RUN NODE NODES", file=sys.stderr)
        return 2
    rank = Parent()
    rank.listen()
    os.nice(10)
    run = RunFolder(Path(arguments[0]))
    settings = load(str(run.recipe)).checkpoints
    node, nodes = int(arguments[1]), int(arguments[2])
    try:
        remote = Remote(of_run(settings.sync_to or "", run))
    except UserError as error:
        say(one_line(error))
        return 1
    if node == 0:
        First(run, remote, node, nodes, keep=settings.keep).lead(rank)
    else:
        Node(run, remote, node, nodes).follow(rank)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
