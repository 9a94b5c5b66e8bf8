"""`checkpoints.best`: which checkpoint has the lowest evaluation loss, by the manifests.

The loss of the evaluation at a checkpoint's own step stands in its manifest. It therefore survives
a stop, comes back with a copy from elsewhere, and a checkpoint that was not evaluated has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import digests, folders, manifest

EVAL_LOSS = "eval_loss"
"""Key of the loss in a manifest."""


@dataclass(frozen=True, order=True)
class Evaluated:
    """A checkpoint and its evaluation loss. The lower loss comes first, then the earlier step."""

    loss: float
    step: int

    @property
    def name(self) -> str:
        """Return the name of the checkpoint's folder."""
        return f"step-{self.step}"


def finite_loss(value: Any) -> float | None:
    """Return an evaluation's loss; None for what is none or can be compared with nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def evaluated(manifests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Evaluated]:
    """Return the evaluated ones of checkpoints, given by name and metadata, the best first."""
    found = []
    for name, metadata in manifests:
        loss, step = finite_loss(metadata.get(EVAL_LOSS)), folders.step_of(Path(name))
        if loss is not None and step >= 0:
            found.append(Evaluated(loss, step))
    return sorted(found)


def evaluated_here(run: RunFolder) -> list[Evaluated]:
    """Return the evaluated checkpoints of a run folder, the best first."""
    parsed = ((path.name, manifest.read(path)) for path in folders.complete(run))
    return evaluated((name, found[0]) for name, found in parsed if found is not None)


def evaluated_copies(texts: Mapping[str, str]) -> list[Evaluated]:
    """Return the evaluated ones of copies, given by name and manifest's text, the best first."""
    parsed = ((name, manifest.parse(text)) for name, text in texts.items())
    return evaluated((name, found[0]) for name, found in parsed if found is not None)


def write_loss(run: RunFolder, step: int, loss: float) -> None:
    """Write the loss into the manifest of a checkpoint that was saved before its evaluation.

    Raises OSError.
    """
    folder = run.checkpoints / f"step-{step}"
    parsed = manifest.read(folder)
    if parsed is None:
        raise FileNotFoundError(f"{folder.name} has no manifest")
    metadata, entries = parsed
    metadata.pop("format", None)
    manifest.write(folder, entries, **{**metadata, EVAL_LOSS: loss})
    digests.record(run, step, folder / manifest.NAME)
