"""The training's side of `folders.sync_to`: starts the copier, waits for it, takes back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.address import scheme_of
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.distributed import DistContext, all_gather_object, barrier
from hpclaunch.train.failure import one_line
from hpclaunch.train.progress_log import say
from hpclaunch.train.upload import copy_protocol
from hpclaunch.train.upload.remote import Listing, Remote, of_run, refuse_stranger
from hpclaunch.units import duration

LONGEST = 3600.0
"""Seconds that a finished training waits for its copy: the nodes wait with it."""
RESERVE = 25.0
"""Seconds before the allocation's end that must be left for the way back into the queue."""
PREEMPTED = 10.0
"""Seconds for the copy after a preemption's notice, whose own limit nobody tells."""

FETCHED = ".fetched"
"""Where a checkpoint is brought to before it is renamed into place."""


class Uploader:
    """A node's copier, as the rank that starts it sees it; on other ranks, and without an address

    to copy to, nothing at all.
    """

    def __init__(self, run: RunFolder, world: DistContext, url: str | None) -> None:
        """Start the copier of this node. Every rank must call it at the same place."""
        self.run = run
        self.world = world
        self.url = url and of_run(url, run)
        self.mine = url is not None and world.local_rank == 0
        self.process: subprocess.Popen[bytes] | None = None
        if url is None:
            return
        if world.first:
            copy_protocol.begin(run, world.nodes)
        barrier()
        self._start()

    def look(self) -> None:
        """Tell the copier that there is a new checkpoint; one that has died is started again."""
        if self.process and self.process.poll() is not None:
            self._start()
        self._tell(b"look\n")

    def held(self) -> str | None:
        """Return the name of the checkpoint that is being copied, which must stay."""
        return copy_protocol.held(self.run) if self.url else None

    def finish(self, until: float, *, final: bool) -> None:
        """Let it copy what is missing, until `until` (Unix seconds) at the latest.

        Every rank may call it; no collective is left to wait in. The job ends well either way.
        """
        if self.process is None:
            return
        if self.process.poll() is not None:
            self._start()
        left = max(0.0, until - time.time())
        if self.world.first:
            what = "the final weights" if final else "the checkpoint"
            say(f"sync: waiting for {what} to be at {self.url}, {duration(left)} at most")
        self._tell(json.dumps({"final": final}).encode() + b"\n")
        try:
            code = self.process.wait(left)
        except subprocess.TimeoutExpired:
            code = None
            self.process.kill()
            self.process.wait()
        if self.world.first and not self._is_there(final):
            self._say_missing(final, "it failed" if code is not None else "time is up")

    def _start(self) -> None:
        if not self.mine:
            return
        variables = dict(os.environ)
        if scheme_of(self.url or "") == "hf":  # ranks must not ask the hub, the copier must
            variables.pop("HF_HUB_OFFLINE", None)
        node, nodes = str(self.world.node), str(self.world.nodes)
        # A session of its own: signals are for the ranks; this one ends when its pipe does.
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hpclaunch.train.upload.copier",
                str(self.run.root),
                node,
                nodes,
            ],
            stdin=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        if self.process.stdin:
            os.set_blocking(self.process.stdin.fileno(), False)  # a rank never waits for it

    def _tell(self, text: bytes) -> None:
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.write(text)
                self.process.stdin.flush()

    def _is_there(self, final: bool) -> bool:
        """Return whether what was waited for has arrived, by the marks of this start."""
        newest = folders.newest(self.run)
        wanted = {"final"} if final else set()
        wanted |= {newest.name} if newest else set()
        return wanted <= copy_protocol.arrived(self.run)

    def _say_missing(self, final: bool, why: str) -> None:
        if final:
            say(f"sync: not all is at {self.url} ({why}); what is missing is in {self.run.root}")
        else:
            say(f"sync: the checkpoint is not at {self.url} yet ({why}); the next start copies it")


def until(paused: bool, ends: float | None, why: str) -> float:
    """Return until when to wait for the copy, in Unix seconds.

    `paused`: stopped to go on in a later start, and `why`; `ends`: the end of the allocation, None
    without one.
    """
    now = time.time()
    latest = now + (PREEMPTED if paused and why == "preempted" else LONGEST)
    return latest if ends is None else min(latest, max(now, ends - RESERVE))


class Store:
    """What can be had back from the address, on the ranks of a start."""

    def __init__(self, run: RunFolder, world: DistContext, recipe: Recipe) -> None:
        """Look at what lies there: the first rank does, and tells the others. Collective.

        Raises UserError, on all ranks, where another run lies there.
        """
        self.run = run
        self.world = world
        url = recipe.checkpoints.sync_to
        self.url = url and of_run(url, run)
        self.problem: str | None = None
        """Why nothing is known of it."""
        self.whole: Mapping[str, str] = {}
        """Text of the manifest of every whole checkpoint."""
        if self.url is None:
            return
        refused: UserError | None = None
        if world.first:
            try:
                remote = self._remote()
                refuse_stranger(run, remote)
                self.whole = _checkpoints(remote.listing())
            except UserError as error:
                refused = error
            except Exception as error:  # whatever a storage's library raises
                self.problem = one_line(error)
        told = all_gather_object(world, (refused, self.problem, self.whole))[0]
        refused, self.problem, self.whole = told
        if refused is not None:
            raise refused

    def fetch(self, name: str) -> str | None:
        """Bring a checkpoint here, each node its share, and rename it into place when it is whole.

        Gives what went wrong, the same on all ranks. Collective.
        """
        world = self.world
        aside = self.run.checkpoints / FETCHED
        if world.first:
            say(f"fetching {name} from {self.url}")
            shutil.rmtree(aside, ignore_errors=True)
        barrier()
        problem = None
        if world.local_rank == 0:
            try:
                self._fetch_share(name, aside)
            except Exception as error:  # whatever a storage's library raises
                problem = one_line(error)
        problem = next((said for said in all_gather_object(world, problem) if said), None)
        if problem is None:
            damage = manifest.damage(aside, world.rank, world.size)
            problem = next((said for said in all_gather_object(world, damage) if said), None)
        if world.first:
            if problem is None:
                folders.put_into_place(self.run, aside, name)
            shutil.rmtree(aside, ignore_errors=True)
        barrier()
        return problem

    def _fetch_share(self, name: str, aside: Path) -> None:
        text = self.whole[name]
        facts, parts = manifest.parse(text) or ({}, {})
        remote = self._remote()
        aside.mkdir(parents=True, exist_ok=True)
        ranks, world = int(facts.get("ranks", 1)), self.world
        for file in manifest.share(parts, ranks, world.node, world.nodes):
            remote.get(aside / file, name, file)
        if world.first:
            (aside / manifest.NAME).write_text(text, encoding="utf-8")

    def _remote(self) -> Remote:
        return Remote(self.url or "")

    def tell_damage(self, name: str, why: str) -> None:
        """Mark and say that a checkpoint could not be had from there."""
        if self.world.first:
            log_event(self.run.events, "checkpoint damaged", path=f"{self.url}: {name}", why=why)
            say(f"{name} cannot be had from {self.url}: {why}")


def has_been_there(run: RunFolder) -> bool:
    """Return whether a checkpoint of this run was copied at some time, by its marks."""
    return any(m["event"] == "synced" and m.get("step") for m in read_events(run.events))


def _checkpoints(listing: Listing) -> dict[str, str]:
    return {f"step-{step}": listing.whole[f"step-{step}"] for step in listing.steps()}
