"""The training's side of `checkpoints.sync_to`: starts its node's copier and waits for it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

from hpclaunch.recipe.address import scheme_of
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stop_timing import (
    FINAL_UPLOAD_SECONDS,
    INTERRUPTED,
    PREEMPTED_UPLOAD_SECONDS,
    REQUEUE_RESERVE_SECONDS,
)
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.distributed import DistContext, barrier
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.stop import PREEMPTED
from hpclaunch.train.upload import copy_protocol
from hpclaunch.train.upload.remote import FINAL, run_url
from hpclaunch.units import duration


class Uploader:
    """Runs its node's copier. Does nothing on other ranks, and without an address to copy to."""

    def __init__(self, run: RunFolder, context: DistContext, url: str | None) -> None:
        """Start the copier of this node. Every rank must call it at the same place."""
        self.run = run
        self.context = context
        self.url = url and run_url(url, run)
        self.owns_copier = url is not None and context.local_rank == 0
        self.process: subprocess.Popen[bytes] | None = None
        if url is None:
            return
        if context.is_main_process:
            copy_protocol.create_files(run, context.nodes)
        barrier()
        self._start()

    def notify(self) -> None:
        """Wake the copier for a new checkpoint; one that has died is started again."""
        if self.process and self.process.poll() is not None:
            self._start()
        self._send(b"checkpoint\n")

    def checkpoint_in_use(self) -> str | None:
        """Return the name of the checkpoint that is being copied, which must stay."""
        return copy_protocol.copying(self.run) if self.url else None

    def finish(self, deadline: float, *, final: bool) -> None:
        """Wait until everything is copied, until `deadline` (Unix seconds) at the latest.

        Any rank may call it; it uses no collective. A copy that is late does not fail the run.
        """
        if self.process is None:
            return
        if self.process.poll() is not None:
            self._start()
        left = max(0.0, deadline - time.time())
        if self.context.is_main_process:
            what = "the final weights" if final else "the checkpoint"
            log_line(f"sync: waiting for {what} to be at {self.url}, {duration(left)} at most")
        self._send(json.dumps({"final": final}).encode() + b"\n")
        try:
            code = self.process.wait(left)
        except subprocess.TimeoutExpired:
            code = None
            self.process.kill()
            self.process.wait()
        if self.context.is_main_process and not self._is_uploaded(final):
            self._log_missing(final, "it failed" if code is not None else "time is up")

    def _start(self) -> None:
        if not self.owns_copier:
            return
        variables = dict(os.environ)
        if scheme_of(self.url or "") == "hf":  # ranks work offline, the copier must not
            variables.pop("HF_HUB_OFFLINE", None)
        module = "hpclaunch.train.upload.copier"
        numbers = [str(self.context.node), str(self.context.nodes)]
        # A session of its own: signals are for the ranks; this process ends when its pipe closes.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.run.root), *numbers],
            stdin=subprocess.PIPE,
            env=variables,
            start_new_session=True,
        )
        if self.process.stdin:
            os.set_blocking(self.process.stdin.fileno(), False)  # a rank never waits for it

    def _send(self, text: bytes) -> None:
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.write(text)
                self.process.stdin.flush()

    def _is_uploaded(self, final: bool) -> bool:
        """Return whether this attempt has uploaded everything that was waited for."""
        newest = folders.newest(self.run)
        wanted = {FINAL} if final else set()
        wanted |= {newest.name} if newest else set()
        return wanted <= copy_protocol.uploaded(self.run)

    def _log_missing(self, final: bool, why: str) -> None:
        if final:
            log_line(
                f"sync: not all is at {self.url} ({why}); what is missing is in {self.run.root}"
            )
        else:
            log_line(
                f"sync: the checkpoint is not at {self.url} yet ({why}); the next attempt copies it"
            )


def upload_deadline(paused: bool, end: float | None, reason: str) -> float:
    """Return until when to wait for the upload, in Unix seconds.

    `paused`: stopped to resume in a later attempt, for `reason`; `end`: of the allocation, in Unix
    seconds, None without a limit.
    """
    now = time.time()
    hurried = paused and reason in {PREEMPTED, INTERRUPTED}
    latest = now + (PREEMPTED_UPLOAD_SECONDS if hurried else FINAL_UPLOAD_SECONDS)
    return latest if end is None else min(latest, max(now, end - REQUEUE_RESERVE_SECONDS))
