"""Copying a run's checkpoints away: what the first node decides, and what every node does.

The first node decides what is copied next; each node copies its share and answers; the first looks
at what arrived and sends the manifest last. Without torch.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.failure import one_line
from hpclaunch.train.upload import copy_protocol
from hpclaunch.train.upload.remote import FINAL, Remote, place_of, refuse_stranger, short
from hpclaunch.units import duration

LOOK = 2.0
"""Seconds between looks for orders and answers of other nodes."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds before another try: doubled from the first to the longest."""
PATIENCE = 120.0
"""Seconds of failing tries after which a finished training is kept waiting no longer."""


class Rank(Protocol):
    """The rank that the copying is done for."""

    finishing: bool
    """It has ended, and waits for what is still to be copied."""
    final: bool
    """The final weights are there to be copied."""

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until it says something."""


class NotWhole(Exception):
    """What is here is not, or no longer, what its manifest says: no try will mend it."""


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
        """Return where something lies here."""
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
            order = copy_protocol.newest(self.run)
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
            text = copy_protocol.order_text(self.run, str(order["name"]))
            found = manifest.parse(text)
            if found is None:
                raise NotWhole(f"{order['name']} has no manifest")
            self.share(Item(str(order["name"]), text, *found))
        except Exception as error:  # whatever a storage's library raises
            return one_line(error)
        return None

    def answer(self, number: Any, problem: str | None) -> None:
        """Tell the first node."""
        log_event(
            copy_protocol.answer_file(self.run, self.node), "answer", id=number, problem=problem
        )


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
                log_event(copy_protocol.file(self.run), "free")
            except Exception as error:  # whatever a storage's library raises
                self.failed(item, error)
                log_event(
                    copy_protocol.file(self.run), "free"
                )  # a disk must not fill up for it meanwhile
                if asked is not None and time.monotonic() - asked > PATIENCE:
                    break
                rank.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE if asked is None else PATIENCE / 10)
            else:
                self.done[item.name] = item.text
                pause = FIRST_PAUSE
                log_event(copy_protocol.file(self.run), "arrived", name=item.name)
                self.tidy()
        log_event(copy_protocol.file(self.run), "done")

    def next(self, *, final: bool) -> Item | None:
        """Return what to copy now: the final weights, or the newest checkpoint."""
        names = [path.name for path in folders.complete(self.run)[-1:]]
        for name in [FINAL, *names] if final else names:
            try:
                text = (
                    self.final_text() if name == FINAL else copy_protocol.order_text(self.run, name)
                )
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
        log_event(
            copy_protocol.file(self.run), "order", id=self.number, name=item.name, anew=self.anew
        )
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
                said = copy_protocol.answer(self.run, node)
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
        where = f"{self.remote.url}/{place_of(item.name)}"
        step = item.facts.get("step")
        log_event(
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
        log_event(self.run.events, "sync failed", name=item.name, why=why)
        more = "; training goes on, and it is tried again" if mends else ""
        say(f"{item.name} is not copied to {self.remote.url}: {why}{more}")


def say(text: str) -> None:
    """Print a line at once, in one piece."""
    sys.stdout.write(f"sync: {text}\n")
    sys.stdout.flush()
