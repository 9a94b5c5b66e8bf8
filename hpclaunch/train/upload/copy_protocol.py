"""What the nodes' copiers tell each other, in files of the folder RUN/sync.

Files that are appended to, because a network file system shows those to other nodes at their next
opening, and a renamed file only when its cache gets old.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.upload.remote import FINAL


def begin(run: RunFolder, nodes: int) -> None:
    """Make the files anew: what an earlier start ordered is no order now."""
    shutil.rmtree(run.sync, ignore_errors=True)
    run.sync.mkdir()
    for path in [file(run), *(answer_file(run, node) for node in range(nodes))]:
        path.touch()


def file(run: RunFolder) -> Path:
    """Return where the first node says what is copied."""
    return run.sync / "orders.jsonl"


def answer_file(run: RunFolder, node: int) -> Path:
    """Return where a node says how it went."""
    return run.sync / f"node-{node}.jsonl"


def order_text(run: RunFolder, name: str) -> str:
    """Return the manifest of something to copy. Raises OSError."""
    if name == FINAL:
        return (run.sync / f"{FINAL}.json").read_text(encoding="utf-8")
    return (run.checkpoints / name / manifest.NAME).read_text(encoding="utf-8")


def held(run: RunFolder) -> str | None:
    """Return the name of what is being copied now: it must not be removed meanwhile."""
    last = newest(run)
    return str(last.get("name")) if last["event"] == "order" else None


def newest(run: RunFolder) -> dict[str, Any]:
    """Return the last order; its event is '' before the first."""
    return next(reversed(read_events(file(run))), {"event": ""})


def answer(run: RunFolder, node: int) -> dict[str, Any]:
    """Return a node's last answer, empty before the first."""
    return next(reversed(read_events(answer_file(run, node))), {})


def arrived(run: RunFolder) -> set[str]:
    """Return the names of what is there, as far as this start knows."""
    return {str(m.get("name")) for m in read_events(file(run)) if m["event"] == "arrived"}
