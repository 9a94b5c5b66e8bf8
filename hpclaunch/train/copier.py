"""`python -m hpclaunch.train.copier RUN`: copies a run's checkpoints away, one process a node.

A process of its own, at low priority, and not a thread of a rank: a thread would take the
interpreter from the training each time it sums or sends a block, and a storage's library that
hangs or crashes would take the rank with it.

The first node's copier decides what is copied next and writes it into RUN/sync/orders.jsonl; each
node copies its share and answers in RUN/sync/node-K.jsonl; the first looks at what arrived and
sends the manifest last. Files that are appended to, because a network file system shows those to
other nodes at their next opening, and a renamed file only when its cache gets old.

Its life hangs on the pipe to the rank that started it: a line wakes it, a JSON object asks it to
finish, and the pipe's end is its own end, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.run.events import mark, read_marks
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import checkpoints, manifest
from hpclaunch.train.failure import one_line
from hpclaunch.train.remote import FINAL, Remote, of_run, refuse_stranger, short
from hpclaunch.units import duration

LOOK = 2.0
"""Seconds between looks for orders and answers of other nodes."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds before another try: doubled from the first to the longest."""
PATIENCE = 120.0
"""Seconds of failing tries after which a finished training is kept waiting no longer."""


class NotWhole(Exception):
    """What is here is not, or no longer, what its manifest says: no try will mend it."""


@dataclass
class Rank:
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


@dataclass(frozen=True)
class Item:
    """Something to copy."""

    name: str
    text: str
    """Its manifest."""
    facts: dict[str, Any]
    parts: dict[str, manifest.Part]


@dataclass
class Node:
    """A node's copier: copies its share of what the first node orders."""

    run: RunFolder
    remote: Remote
    node: int
    nodes: int
    sent: set[tuple[str, str, int]] = field(default_factory=set)
    """Name, file and checksum of what has arrived."""

    def folder(self, name: str) -> Path:
        """Give where something lies here."""
        return self.run.final if name == FINAL else self.run.checkpoints / name

    def share(self, item: Item) -> None:
        """Copy this node's files of it. Raises NotWhole, and whatever the storage raises."""
        ranks = int(item.facts.get("ranks", 1))
        for name in manifest.share(item.parts, ranks, self.node, self.nodes):
            part = item.parts[name]
            if (item.name, name, part.crc32) in self.sent:
                continue
            local = self.folder(item.name) / name
            try:
                whole = manifest.measure(local) == part
            except OSError as error:
                raise NotWhole(f"{item.name}/{name}: {error.strerror}") from None
            if not whole:
                raise NotWhole(f"{item.name}/{name} is not what was written")
            self.remote.put(local, item.name, name)
            self.sent.add((item.name, name, part.crc32))

    def follow(self, rank: Rank) -> None:
        """Do what the first node orders, until it says that there is no more."""
        answered = None
        while True:
            order = next(reversed(read_marks(orders(self.run))), {"event": ""})
            if order["event"] == "done":
                return
            if order["event"] == "order" and order.get("id") != answered:
                answered = order["id"]
                self.answer(answered, self.obey(order))
            rank.wait(LOOK / 2)

    def obey(self, order: dict[str, Any]) -> str | None:
        """Copy the share of an order; gives what went wrong."""
        if order.get("anew"):
            self.sent.clear()
        try:
            text = order_text(self.run, str(order["name"]))
            found = manifest.parse(text)
            if found is None:
                raise NotWhole(f"{order['name']} has no manifest")
            self.share(Item(str(order["name"]), text, *found))
        except Exception as error:  # whatever a storage's library raises
            return one_line(error)
        return None

    def answer(self, number: Any, problem: str | None) -> None:
        """Tell the first node."""
        mark(answers(self.run, self.node), "answer", id=number, problem=problem)


@dataclass
class First(Node):
    """The first node's copier, which decides, and tells the person."""

    keep: int = 2
    done: dict[str, str] = field(default_factory=dict)
    """Manifest of everything that is known to lie there, or that never can."""
    failing: bool = False
    untidy: bool = False
    anew: bool = False
    """What was sent did not stay: all of it goes again."""
    number: int = 0

    def lead(self, rank: Rank) -> None:
        """Copy what is new, the newest first, until the rank asks to finish and all is there."""
        pause = FIRST_PAUSE
        asked: float | None = None
        while True:
            if rank.finishing and asked is None:
                asked, pause = time.monotonic(), FIRST_PAUSE
            item = self.next(final=rank.final)
            if item is None:
                if asked is not None:
                    break
                rank.wait(LOOK)
                continue
            try:
                self.copy(item)
            except NotWhole as error:
                self.done[item.name] = item.text
                self.failed(item, error, mends=False)
                mark(orders(self.run), "free")
            except Exception as error:  # whatever a storage's library raises
                self.failed(item, error)
                mark(orders(self.run), "free")  # a disk must not fill up for it meanwhile
                if asked is not None and time.monotonic() - asked > PATIENCE:
                    break
                rank.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE if asked is None else PATIENCE / 10)
            else:
                self.done[item.name] = item.text
                pause = FIRST_PAUSE
                mark(orders(self.run), "arrived", name=item.name)
                self.tidy()
        mark(orders(self.run), "done")

    def next(self, *, final: bool) -> Item | None:
        """Give what to copy now: the final weights, or the newest checkpoint."""
        names = [path.name for path in checkpoints.complete(self.run)[-1:]]
        for name in [FINAL, *names] if final else names:
            try:
                text = self.final_text() if name == FINAL else order_text(self.run, name)
            except OSError:
                continue
            found = manifest.parse(text)
            if found and self.done.get(name) != text:
                return Item(name, text, *found)
        return None

    def final_text(self) -> str:
        """Write the manifest of the final weights, where the nodes find it. Raises OSError."""
        path = self.run.sync / f"{FINAL}.json"
        if not path.exists():
            parts = manifest.parts_of(self.run.final, 0, 1)
            path.write_text(manifest.text_of(parts), encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def copy(self, item: Item) -> None:
        """Bring it there, whole. Raises NotWhole, and whatever the storage raises."""
        started = time.monotonic()
        self.introduce()
        there = self.remote.text(item.name, manifest.NAME)
        files = self.remote.files(item.name)
        if there == item.text and not short(item.parts, files, ""):
            return
        if there is not None:  # an earlier one of this step, from before a resume
            self.remote.remove(item.name, manifest_only=True)
        self.number = time.time_ns()
        mark(orders(self.run), "order", id=self.number, name=item.name, anew=self.anew)
        self.share(item)
        self.await_others(item)
        problem = short(item.parts, self.remote.files(item.name), "")
        self.anew = problem is not None
        if problem:
            self.sent.clear()
            raise OSError(f"{item.name}/{problem}")
        self.send_manifest(item)
        self.succeeded(item, time.monotonic() - started)

    def tidy(self) -> None:
        """Remove old checkpoints there. Where that may not be, they stay."""
        try:
            self.remote.prune(self.keep)
        except Exception as error:  # whatever a storage's library raises
            if not self.untidy:
                say(f"old checkpoints at {self.remote.url} stay: {one_line(error)}")
            self.untidy = True

    def introduce(self) -> None:
        """Say whose run it is. Raises UserError where another lies there."""
        if not refuse_stranger(self.run, self.remote):
            for path in (self.run.recipe, self.run.record):
                if path.exists():
                    self.remote.put(path, path.name)

    def await_others(self, item: Item) -> None:
        """Wait for the other nodes' shares. Raises OSError with what one of them says."""
        for node in range(1, self.nodes):
            while True:
                said: dict[str, Any] = next(reversed(read_marks(answers(self.run, node))), {})
                if said.get("id") == self.number:
                    break
                if not self.folder(item.name).is_dir():
                    raise NotWhole(f"{item.name} is gone")
                time.sleep(LOOK / 4)
            if said.get("problem"):
                raise OSError(f"node {node}: {said['problem']}")

    def send_manifest(self, item: Item) -> None:
        """Send it last, and the very text that the files were held against."""
        path = self.run.sync / manifest.NAME
        path.write_text(item.text, encoding="utf-8")
        self.remote.put(path, item.name, manifest.NAME)

    def succeeded(self, item: Item, seconds: float) -> None:
        """Mark and say that it is there."""
        size = sum(part.bytes for part in item.parts.values())
        where = f"{self.remote.url}/{item.name}"
        step = item.facts.get("step")
        mark(
            self.run.events,
            "synced",
            name=item.name,
            step=step,
            seconds=round(seconds, 3),
            bytes=size,
            url=where,
        )
        again = ", which answers again" if self.failing else ""
        self.failing = False
        say(f"{item.name} is at {where}{again} ({size / 1e6:,.1f} MB in {duration(seconds)})")

    def failed(self, item: Item, error: Exception, *, mends: bool = True) -> None:
        """Mark and say it, once until something arrives again."""
        if self.failing:
            return
        self.failing = mends
        why = one_line(error)
        mark(self.run.events, "sync failed", name=item.name, why=why)
        more = "; training goes on, and it is tried again" if mends else ""
        say(f"{item.name} is not copied to {self.remote.url}: {why}{more}")


def orders(run: RunFolder) -> Path:
    """Give where the first node says what is copied."""
    return run.sync / "orders.jsonl"


def answers(run: RunFolder, node: int) -> Path:
    """Give where a node says how it went."""
    return run.sync / f"node-{node}.jsonl"


def order_text(run: RunFolder, name: str) -> str:
    """Give the manifest of something to copy. Raises OSError."""
    if name == FINAL:
        return (run.sync / f"{FINAL}.json").read_text(encoding="utf-8")
    return (run.checkpoints / name / manifest.NAME).read_text(encoding="utf-8")


def held(run: RunFolder) -> str | None:
    """Give the name of what is being copied now: it must not be removed meanwhile."""
    last = next(reversed(read_marks(orders(run))), None)
    return str(last.get("name")) if last and last["event"] == "order" else None


def arrived(run: RunFolder) -> set[str]:
    """Give the names of what is there, as far as this start knows."""
    return {str(m.get("name")) for m in read_marks(orders(run)) if m["event"] == "arrived"}


def say(text: str) -> None:
    """Print a line at once, in one piece."""
    sys.stdout.write(f"sync: {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Copy for the run, node and number of nodes given; give the exit code."""
    if len(arguments) != 3:
        print("usage: python -m hpclaunch.train.copier RUN NODE NODES", file=sys.stderr)
        return 2
    rank = Rank()
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
