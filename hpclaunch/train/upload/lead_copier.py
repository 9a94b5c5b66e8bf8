"""The lead copier, on the first node: decides what is uploaded, verifies it, logs the outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hpclaunch.run.events import log_event
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.checkpoint.best import evaluated_here
from hpclaunch.train.failure import one_line
from hpclaunch.train.upload import copy_protocol
from hpclaunch.train.upload.node_copier import (
    POLL_SECONDS,
    CopyItem,
    DamagedError,
    NodeCopier,
    ParentRank,
    log_line,
)
from hpclaunch.train.upload.remote import FINAL, check_owner, missing_file, path_of
from hpclaunch.units import duration

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 2.0, 300.0
"""Before another try: doubled from the first to the longest."""
FINAL_RETRIES_SECONDS = 120.0
"""How long a finished training waits while every try fails."""


@dataclass
class LeadCopier(NodeCopier):
    """Requests copies from all nodes, newest checkpoint first, and sends each manifest last."""

    keep: int = 2
    keep_best: bool = False
    """Copy and keep the checkpoint with the lowest evaluation loss, too."""
    finished: dict[str, str] = field(default_factory=dict)
    """Manifest of everything that is uploaded, or that never can be."""
    failing: bool = False
    prune_failed: bool = False
    resend: bool = False
    """Uploaded files have disappeared: all of them are sent again."""
    request_id: int = 0

    def lead(self, rank: ParentRank) -> None:
        """Upload what is new until the rank asks to finish and everything is uploaded."""
        pause = FIRST_RETRY_SECONDS
        finishing_since: float | None = None
        while True:
            if rank.finishing and finishing_since is None:
                finishing_since, pause = time.monotonic(), FIRST_RETRY_SECONDS
            item = self.next_item(final=rank.final)
            if item is None:
                if finishing_since is not None:
                    break
                rank.wait(POLL_SECONDS)
                continue
            try:
                self.copy(item)
            except DamagedError as error:
                self.finished[item.name] = item.text
                self.log_failed(item, error, retry=False)
                copy_protocol.request(self.run, copy_protocol.FAILED)
            except Exception as error:  # whatever a storage's library raises
                self.log_failed(item, error)
                # It may be removed here: the disk must not fill up meanwhile.
                copy_protocol.request(self.run, copy_protocol.FAILED)
                longest = MAX_RETRY_SECONDS
                if finishing_since is not None:
                    longest = FINAL_RETRIES_SECONDS / 10
                    if time.monotonic() - finishing_since > FINAL_RETRIES_SECONDS:
                        break
                rank.wait(pause)
                pause = min(2 * pause, longest)
            else:
                self.finished[item.name] = item.text
                pause = FIRST_RETRY_SECONDS
                copy_protocol.request(self.run, copy_protocol.UPLOADED, name=item.name)
                self.prune()
        copy_protocol.request(self.run, copy_protocol.FINISHED)

    def next_item(self, *, final: bool) -> CopyItem | None:
        """Return what to copy now: the final weights, the newest checkpoint, or the best one."""
        names = [path.name for path in folders.complete(self.run)[-1:]]
        if self.keep_best:
            names += [best.name for best in evaluated_here(self.run)[:1]]
        for name in [FINAL, *names] if final else names:
            try:
                if name == FINAL:
                    self.write_final_manifest()
                text = copy_protocol.manifest_text(self.run, name)
            except OSError:
                continue
            parsed = manifest.parse(text)
            if parsed and self.finished.get(name) != text:
                return CopyItem(name, text, *parsed)
        return None

    def write_final_manifest(self) -> None:
        """Write the manifest of the final weights, for all nodes. Raises OSError."""
        path = copy_protocol.final_manifest(self.run)
        if not path.exists():
            entries = manifest.read_back(self.run.final, 0, 1)
            path.write_text(manifest.to_text(entries), encoding="utf-8")

    def copy(self, item: CopyItem) -> None:
        """Upload it completely. Raises DamagedError, and whatever the storage raises."""
        started = time.monotonic()
        self.upload_run_record()
        remote_text = self.remote.text(item.name, manifest.NAME)
        files = self.remote.files(item.name)
        if remote_text == item.text and not missing_file(item.entries, files, ""):
            return
        if remote_text is not None:  # an earlier one of this step, from before a resume
            self.remote.remove(item.name, manifest_only=True)
        self.request_id = time.time_ns()
        copy_protocol.request(
            self.run, copy_protocol.COPY, id=self.request_id, name=item.name, resend=self.resend
        )
        self.copy_own_files(item)
        self.await_replies(item)
        problem = missing_file(item.entries, self.remote.files(item.name), "")
        self.resend = problem is not None
        if problem:
            self.sent.clear()
            raise OSError(f"{item.name}/{problem}")
        self.upload_manifest(item)
        self.log_uploaded(item, time.monotonic() - started)

    def prune(self) -> None:
        """Remove old checkpoints at the address. Where that is not allowed, they stay."""
        try:
            self.remote.prune(self.keep, best=self.keep_best)
        except Exception as error:  # whatever a storage's library raises
            if not self.prune_failed:
                log_line(f"old checkpoints at {self.remote.url} stay: {one_line(error)}")
            self.prune_failed = True

    def upload_run_record(self) -> None:
        """Upload recipe and run.json, by which the run is known. Raises UserError where another

        run's lie there.
        """
        if not check_owner(self.run, self.remote):
            for path in (self.run.recipe, self.run.record):
                if path.exists():
                    self.remote.put(path, path.name)

    def await_replies(self, item: CopyItem) -> None:
        """Wait for the other nodes. Raises OSError with an error of one of them."""
        for node in range(1, self.nodes):
            while True:
                reply = copy_protocol.last_reply(self.run, node)
                if reply.get("id") == self.request_id:
                    break
                if not self.local_folder(item.name).is_dir():
                    raise DamagedError(f"{item.name} is gone")
                time.sleep(POLL_SECONDS / 4)
            if reply.get("problem"):
                raise OSError(f"node {node}: {reply['problem']}")

    def upload_manifest(self, item: CopyItem) -> None:
        """Send it last, and the very text that the files were compared with."""
        path = self.run.upload / manifest.NAME
        path.write_text(item.text, encoding="utf-8")
        self.remote.put(path, item.name, manifest.NAME)

    def log_uploaded(self, item: CopyItem, seconds: float) -> None:
        """Log the event `synced`, and a line."""
        size = sum(entry.bytes for entry in item.entries.values())
        url = f"{self.remote.url}/{path_of(item.name)}"
        log_event(
            self.run.events,
            "synced",
            name=item.name,
            step=item.metadata.get("step"),
            seconds=round(seconds, 3),
            bytes=size,
            url=url,
        )
        again = ", which answers again" if self.failing else ""
        self.failing = False
        log_line(f"{item.name} is at {url}{again} ({size / 1e6:,.1f} MB in {duration(seconds)})")

    def log_failed(self, item: CopyItem, error: Exception, *, retry: bool = True) -> None:
        """Log the event `sync failed` and a line, once until something is uploaded again."""
        if self.failing:
            return
        self.failing = retry
        why = one_line(error)
        log_event(self.run.events, "sync failed", name=item.name, why=why)
        more = "; training goes on, and it is tried again" if retry else ""
        log_line(f"{item.name} is not copied to {self.remote.url}: {why}{more}")
