"""What a webhook is sent: the run's state as JSON, and one line that chats show."""

from __future__ import annotations

import socket
from typing import Any, Literal

from hpclaunch.diagnose.last_attempt import last_failure
from hpclaunch.diagnose.progress import Progress, progress
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.secrets import mask

What = Literal["end", "failure", "cancelled", "requeue"]
_LONGEST = 500
"""Characters of a cause that are sent."""


def message(folder: RunFolder, record: Record, what: What, code: int | None) -> dict[str, Any]:
    """Return the JSON of a run at its end or its requeue; unknown values are null.

    `code`: the job's exit code. What has the shape of a secret is masked.
    """
    done = progress(read_events(folder.events))
    why = None
    if what in {"failure", "requeue"}:
        why = mask(last_failure(folder, record, code=code).line)[:_LONGEST] or None
    text = f"{record.name} {_words(what, done)}{f': {why}' if why else ''}"
    return {
        "event": what,
        "run": record.name,
        "folder": str(folder.root),
        "user": record.user,
        "host": socket.gethostname(),
        "job": record.job_id,
        "exit_code": code,
        "step": done.step,
        "total": done.total,
        "loss": done.loss,
        "eval_loss": done.eval_loss,
        "best_step": done.best_step,
        "checkpoint": done.checkpoint,
        "attempts": done.restarts + 1,
        "why": why,
        "text": text,  # Slack, Mattermost, Teams
        "content": text,  # Discord
    }


def _words(what: What, done: Progress) -> str:
    at = "" if done.step is None else f" at step {done.step}"
    at += f" of {done.total}" if at and done.total is not None else ""
    if what == "end":
        loss = "" if done.loss is None else f", loss {done.loss:.4f}"
        return f"{done.outcome or 'ended'}{at}{loss}"
    return {
        "failure": "failed",
        "cancelled": "was cancelled",
        "requeue": "goes back into the queue",
    }[what] + at
