"""How the nodes' copiers work together: the lead's requests and the nodes' replies, in RUN/upload.

The files are appended to: a network file system shows that to other nodes at their next opening,
but a renamed file only when its cache expires.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.removal import remove
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.upload.remote import FINAL

COPY, UPLOADED, FAILED, FINISHED = "copy", "uploaded", "failed", "finished"
"""Events of the lead: nodes are to copy a checkpoint; it is uploaded; it is not, and may be removed
here; there is nothing more to copy."""


def create_files(run: RunFolder, nodes: int) -> None:
    """Create the files; what an earlier attempt requested is removed."""
    remove(run.upload)
    run.upload.mkdir()
    for path in [requests_file(run), *(replies_file(run, node) for node in range(nodes))]:
        path.touch()


def requests_file(run: RunFolder) -> Path:
    """Return the file of the lead's requests."""
    return run.upload / "requests.jsonl"


def replies_file(run: RunFolder, node: int) -> Path:
    """Return the file of a node's replies."""
    return run.upload / f"node-{node}.jsonl"


def final_manifest(run: RunFolder) -> Path:
    """Return the file of the final weights' manifest, which the lead writes."""
    return run.upload / f"{FINAL}.json"


def manifest_text(run: RunFolder, name: str) -> str:
    """Return the manifest of a checkpoint or of the final weights. Raises OSError."""
    if name == FINAL:
        return final_manifest(run).read_text(encoding="utf-8")
    return (run.checkpoints / name / manifest.NAME).read_text(encoding="utf-8")


def request(run: RunFolder, event: str, **fields: Any) -> None:
    """Append a request, or the outcome of one."""
    log_event(requests_file(run), event, **fields)


def last_request(run: RunFolder) -> dict[str, Any]:
    """Return the lead's last event; its `event` is '' before the first."""
    return next(reversed(read_events(requests_file(run))), {"event": ""})


def reply(run: RunFolder, node: int, request_id: Any, problem: str | None) -> None:
    """Append a node's reply: the error of its part of the copy, None if it succeeded."""
    log_event(replies_file(run, node), "reply", id=request_id, problem=problem)


def last_reply(run: RunFolder, node: int) -> dict[str, Any]:
    """Return a node's last reply, empty before the first."""
    return next(reversed(read_events(replies_file(run, node))), {})


def copying(run: RunFolder) -> str | None:
    """Return the name of what is being copied now, None if nothing is: it must not be removed."""
    last = last_request(run)
    return str(last.get("name")) if last["event"] == COPY else None


def uploaded(run: RunFolder) -> set[str]:
    """Return the names of what this attempt has uploaded."""
    events = read_events(requests_file(run))
    return {str(event.get("name")) for event in events if event["event"] == UPLOADED}
