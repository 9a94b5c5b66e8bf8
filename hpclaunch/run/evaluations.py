"""RUN/evaluations: the scores of a run's weights, one file for each evaluation."""

from __future__ import annotations

import errno
import math
import re
from typing import Any

import msgspec

from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.owner import is_own
from hpclaunch.run.regular_file import read_regular

MAX_BYTES = 1 << 24
"""Of an evaluation: MMLU with all of its parts takes some 30 kB."""
MOST = 2000
"""Evaluations of a run that are read."""
FORMAT = 1
"""Raised when a reader of old could misread a new file."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A task's score by one metric."""

    value: float
    """In the metric's own unit; most are a share from 0 to 1."""
    stderr: float | None = None
    """Standard error, in the same unit; None where the harness gives none."""


Scores = dict[str, dict[str, Score]]
"""By task, then by metric."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What one evaluation found out."""

    format: int = FORMAT
    name: str
    """Of the evaluation's own run."""
    created: float
    """Unix seconds."""
    model: str
    """What was evaluated, as messages call it."""
    checkpoint: str | None = None
    """`step-N` of the run; None: its final weights."""
    tasks: tuple[str, ...]
    """As requested: tasks, groups or tags."""
    scores: Scores
    base: Scores = {}
    """Those of the base model; empty where it was not evaluated."""
    base_model: str | None = None
    higher_is_better: dict[str, dict[str, bool]] = {}
    """By task and metric."""
    rows: dict[str, int] = {}
    """Rows of each task that were evaluated."""
    limit: int | None = None
    """Only the first so many rows of each task."""
    fewshot: int | None = None
    chat: bool = False
    harness: str = ""
    """Version of lm-evaluation-harness."""


def finite(value: Any) -> float | None:
    """Return a number that a score can be; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def higher_is_better(evaluation: Evaluation, task: str, metric: str) -> bool | None:
    """Return whether a higher value of a metric is better, None where the harness does not say.

    `exact_match (strict-match)` is the metric `exact_match` of filtered answers.
    """
    known = evaluation.higher_is_better.get(task, {})
    return known.get(metric, known.get(metric.partition(" (")[0]))


def write_evaluation(folder: RunFolder, evaluation: Evaluation) -> None:
    """Keep an evaluation in the folder of the run that was evaluated.

    Raises OSError, also for a folder of another user, which may lead anywhere.
    """
    if not is_own(folder) or folder.evaluations.is_symlink():
        raise PermissionError(errno.EPERM, "the run is another user's", str(folder.root))
    folder.evaluations.mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", evaluation.name).lstrip(".")
    text = msgspec.json.format(msgspec.json.encode(evaluation), indent=2).decode()
    write_atomic(folder.evaluations / f"{name}.json", text + "\n")


def read_evaluations(folder: RunFolder) -> list[Evaluation]:
    """Return a run's evaluations, the oldest first; damaged ones are left out."""
    found = []
    try:
        paths = sorted(folder.evaluations.glob("*.json"))[-MOST:]
    except OSError:
        return []
    for path in paths:
        try:
            found.append(msgspec.json.decode(read_regular(path, MAX_BYTES), type=Evaluation))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return sorted(found, key=lambda each: each.created)
