"""Eval: a model's scores in tasks of lm-evaluation-harness, beside those of its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.forecast.task_data import check_tasks
from hpclaunch.predict.inference import (
    PROCESS,
    Inference,
    on_gpu,
    scored_tokens_per_second,
    scoring_memory,
)
from hpclaunch.run.evaluations import Evaluation, Score, higher_is_better
from hpclaunch.run.stage_settings import Eval
from hpclaunch.stages.loaded import loaded_model
from hpclaunch.stages.need import Device, Facts, Need, Unknown
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Place, Rows, Stage
from hpclaunch.units import duration

SHORTEST, LONGEST = 256, 8192
"""Tokens of a request that must fit, and up to which is looked for what fits. How long the tasks'
are is known only once their data is read."""


def check(settings: Eval, sources: Sequence[KnownSource]) -> None:
    """Refuse a folder of task files that is not there. Raises UserError."""
    if settings.tasks_dir is not None and not Path(settings.tasks_dir).is_dir():
        raise UserError(f"--tasks-dir {settings.tasks_dir}: no such folder")


def place(settings: Eval, sources: Sequence[KnownSource]) -> Place:
    """Return where it runs: on GPUs where there are some, else on CPUs."""
    return "either"


def need(settings: Eval, sources: Sequence[KnownSource]) -> Need | Unknown:
    """Return the larger model with the logits of a batch of requests."""
    models = [loaded_model(known) for known in sources]
    known = [each for each in models if isinstance(each, Inference)]
    if len(known) < len(models):
        return next(each for each in models if isinstance(each, Unknown))
    used = max(known, key=lambda each: scoring_memory(each, settings.batch, SHORTEST).tensors)
    memory = scoring_memory(used, settings.batch, SHORTEST)

    def facts(device: Device) -> Facts:
        found: Facts = []
        if device.usable_bytes is not None:
            longest = _longest(used, settings.batch, device)
            most = "and more " if longest == LONGEST else ""
            text = f"up to {longest:,} tokens {most}each, {settings.batch} at once"
            found += [("requests", text)] if longest else []
        if device.hardware is not None:
            rate = scored_tokens_per_second(used, settings.batch, SHORTEST, device.hardware)
            seconds = len(models) * 1000 * SHORTEST / (rate * device.processes)
            found.append(
                (
                    "time",
                    f"{duration(seconds)} for 1,000 requests of {SHORTEST} tokens, beside loading",
                )
            )
        return found

    return Need(
        gpu=memory,
        shared=True,
        host_bytes=int(2 * PROCESS),
        cpu_bytes=int(PROCESS + memory.tensors),
        facts=facts,
        assumed=(f"requests of {SHORTEST} tokens: those of the tasks are not known yet",),
        smaller="--batch-size 1" if settings.batch > 1 else "",
    )


def _longest(used: Inference, batch: int, device: Device) -> int:
    """Return the tokens of a request with which a batch fits, `LONGEST` at most."""
    room = device.usable_bytes or 0
    low, high = 0, LONGEST
    while low < high:
        middle = (low + high + 1) // 2
        fits = on_gpu(scoring_memory(used, batch, middle), device.gpus).total <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


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
            if higher_is_better(evaluation, task, metric) is False:
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
    rows=rows,
    check=check,
    check_job=check_job,
    place=place,
    need=need,
    parallel=True,
    packages=("torch", "transformers", "lm_eval", "hpclaunch"),
)
