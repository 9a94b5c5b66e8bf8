"""Eval: a model's scores in tasks of lm-evaluation-harness, beside those of its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.forecast.task_data import check_tasks
from hpclaunch.run.evaluations import Evaluation, Score
from hpclaunch.run.stage_settings import Eval
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Place, Rows, Stage


def check(settings: Eval, sources: Sequence[KnownSource]) -> None:
    """Refuse a folder of task files that is not there. Raises UserError."""
    if settings.tasks_dir is not None and not Path(settings.tasks_dir).is_dir():
        raise UserError(f"--tasks-dir {settings.tasks_dir}: no such folder")


def place(settings: Eval, sources: Sequence[KnownSource]) -> Place:
    """Return where it runs: on GPUs where there are some, else on CPUs."""
    return "either"


def shown_tasks(evaluation: Evaluation) -> list[str]:
    """Return the tasks to show: those requested, or the parts of what has no score of its own."""
    named = [name for name in evaluation.tasks if name in evaluation.scores]
    return named if len(named) == len(evaluation.tasks) else list(evaluation.scores)


def score_text(score: Score) -> str:
    """Return a score with its standard error: `0.4123 ± 0.0101`."""
    error = "" if score.stderr is None else f" ± {score.stderr:.4f}"
    return f"{score.value:.4f}{error}"


def score_rows(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Return a line for each task and metric, with the base's score where it is known."""
    for task in shown_tasks(evaluation):
        for metric, score in evaluation.scores[task].items():
            text = f"{task} {metric}: {score_text(score)}"
            before = evaluation.base.get(task, {}).get(metric)
            if before is not None:
                text += f", before {score_text(before)} ({score.value - before.value:+.4f})"
            if evaluation.higher_is_better.get(task, {}).get(metric) is False:
                text += ", lower is better"
            yield "score", text


def rows(values: Mapping[str, Any]) -> Rows:
    """Return what eval found out, as label and text."""
    try:
        evaluation = msgspec.convert(values, Evaluation)
    except msgspec.ValidationError:
        return []
    found: Rows = list(score_rows(evaluation))
    if evaluation.base_model:
        found.append(("before", evaluation.base_model))
    if evaluation.limit is not None:
        count = f"the first {evaluation.limit:,} rows of each task"
        found.append(("note", f"{count} alone: no figures to compare with others'"))
    return found


def check_job(settings: Eval, python: Path, internet: bool, environment: Mapping[str, str]) -> None:
    """Refuse unknown tasks, and data that an offline job would not find. Raises UserError."""
    check_tasks(settings.tasks, settings.tasks_dir, python, internet, environment)


STAGE = Stage(
    settings=Eval,
    output="results",
    rows=rows,
    check=check,
    check_job=check_job,
    place=place,
    parallel=True,
    packages=("torch", "transformers", "lm_eval", "hpclaunch"),
)
