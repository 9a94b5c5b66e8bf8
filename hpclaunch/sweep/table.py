"""What came of a sweep: a row for each run, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hpclaunch.diagnose.listing import Summary, summaries
from hpclaunch.diagnose.state import State
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.run.events import newest, read_events
from hpclaunch.run.find import Listed
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.sweep.record import Sweep, run_folders

Measure = Literal["eval loss", "training loss"]


@frozen
class Row:
    """A run of a sweep."""

    name: str
    folder: Path
    values: dict[str, str]
    """Value of each parameter, as typed."""
    state: State
    reason: str
    job_id: str | None
    step: int | None
    total: int | None
    eval_loss: float | None
    """Of the final weights or the newest evaluation; None where there is none, or no number."""
    loss: float | None
    """Of the newest training step that was logged; None where none is, or it is no number."""


@frozen
class Best:
    """The best run of a sweep, and what it is the best by."""

    name: str
    measure: Measure
    loss: float


def rows(folder: Path, sweep: Sweep) -> list[Row]:
    """Return a row for each run, in the order of the tasks. One that cannot be read says why."""
    listed = [_listed(run) for run in run_folders(folder, sweep)]
    return [
        _row(summary, dict(run.values), run_folder.folder)
        for summary, run, run_folder in zip(summaries(listed), sweep.runs, listed, strict=True)
    ]


def _listed(folder: RunFolder) -> Listed:
    try:
        return Listed(folder, read_record(folder))
    except UserError as error:
        return Listed(folder, None, error.message)


def _row(summary: Summary, values: dict[str, str], folder: RunFolder) -> Row:
    events = read_events(folder.events)
    steps = [event for event in events if event["event"] == "step"]
    return Row(
        name=folder.root.name,
        folder=folder.root,
        values=values,
        state=summary.state,
        reason=summary.reason,
        job_id=summary.job_id,
        step=summary.step,
        total=summary.total,
        eval_loss=_eval_loss(events),
        loss=_loss(steps[-1] if steps else None),
    )


def _eval_loss(events: list[dict[str, Any]]) -> float | None:
    """Return the evaluation loss of the final weights where the run names it, else the newest."""
    of_final = (newest(events, "end") or {}).get("eval_loss")
    return _loss(newest(events, "eval")) if of_final is None else _loss({"loss": of_final})


def _loss(event: dict[str, Any] | None) -> float | None:
    value = (event or {}).get("loss")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def best(found: Sequence[Row]) -> Best | None:
    """Return the finished run with the lowest loss; None where that is not known.

    By the loss of the newest evaluation where every finished run has one, else by that of the last
    training step: losses of two kinds are never compared.
    """
    done = [row for row in found if row.state == "done"]
    evaluated = [(row.eval_loss, row.name) for row in done if row.eval_loss is not None]
    if evaluated and len(evaluated) == len([row for row in done if row.loss is not None]):
        loss, name = min(evaluated)
        return Best(name, "eval loss", loss)
    trained = [(row.loss, row.name) for row in done if row.loss is not None]
    if not trained:
        return None
    loss, name = min(trained)
    return Best(name, "training loss", loss)


NOT_COMPARABLE = ("data.", "model.name", "method.objective", "training.max_length",
                  "training.assistant_only_loss", "training.completion_only_loss",
                  "training.loss_type", "training.packing")  # fmt: skip
"""Keys, or their beginnings, that change what a loss is the loss of."""


def not_comparable(sweep: Sweep) -> list[str]:
    """Return the parameters by which the losses of the runs are of different things."""
    return [key for key in sweep.parameters if key.startswith(NOT_COMPARABLE)]
