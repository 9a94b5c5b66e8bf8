"""A node's copier: uploads its node's files of what the lead copier requests. Without torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.failure import one_line
from hpclaunch.train.upload import copy_protocol
from hpclaunch.train.upload.remote import FINAL, RemoteFolder

POLL_SECONDS = 2.0
"""Between checks for new checkpoints; requests and replies are checked for more often."""


class ParentRank(Protocol):
    """The rank that this copier belongs to."""

    finishing: bool
    """Training has ended; the rank waits for what is still to be copied."""
    final: bool
    """The final weights are there to be copied."""

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until the rank sends something."""


class DamagedError(Exception):
    """A checkpoint here is not, or no longer, what its manifest says: retrying is of no use."""


@dataclass(frozen=True)
class CopyItem:
    """A checkpoint, or the final weights."""

    name: str
    text: str
    """Its manifest."""
    metadata: dict[str, Any]
    entries: dict[str, manifest.FileEntry]


@dataclass
class NodeCopier:
    """Uploads its node's files of what the lead copier requests."""

    run: RunFolder
    remote: RemoteFolder
    node: int
    nodes: int
    sent: set[tuple[str, str, str]] = field(default_factory=set)
    """Name, file and digest of what is uploaded."""

    def local_folder(self, name: str) -> Path:
        """Return the folder of a checkpoint or of the final weights here."""
        return self.run.final if name == FINAL else self.run.checkpoints / name

    def copy_own_files(self, item: CopyItem) -> None:
        """Upload this node's files. Raises DamagedError, and whatever the storage raises."""
        ranks = int(item.metadata.get("ranks", 1))
        for name in manifest.files_of_node(item.entries, ranks, self.node, self.nodes):
            entry = item.entries[name]
            if (item.name, name, entry.sha256) in self.sent:
                continue
            local = self.local_folder(item.name) / name
            try:
                intact = manifest.checksum(local) == entry
            except OSError as error:
                raise DamagedError(f"{item.name}/{name}: {error.strerror}") from None
            if not intact:
                raise DamagedError(f"{item.name}/{name} is not what was written")
            self.remote.put(local, item.name, name)
            self.sent.add((item.name, name, entry.sha256))

    def follow(self, rank: ParentRank) -> None:
        """Copy what the lead requests, until it has finished."""
        replied_to = None
        while True:
            request = copy_protocol.last_request(self.run)
            if request["event"] == copy_protocol.FINISHED:
                return
            if request["event"] == copy_protocol.COPY and request.get("id") != replied_to:
                replied_to = request["id"]
                problem = self.execute(request)
                copy_protocol.reply(self.run, self.node, replied_to, problem)
            rank.wait(POLL_SECONDS / 2)

    def execute(self, request: dict[str, Any]) -> str | None:
        """Copy this node's files of a request; return the error, None if there was none."""
        if request.get("resend"):
            self.sent.clear()
        try:
            text = copy_protocol.manifest_text(self.run, str(request["name"]))
            parsed = manifest.parse(text)
            if parsed is None:
                raise DamagedError(f"{request['name']} has no manifest")
            self.copy_own_files(CopyItem(str(request["name"]), text, *parsed))
        except Exception as error:  # whatever a storage's library raises
            return one_line(error)
        return None


def log_line(text: str) -> None:
    """Print a line with one write."""
    sys.stdout.write(f"sync: {text}\n")
    sys.stdout.flush()
