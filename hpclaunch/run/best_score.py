"""Which checkpoint of a run has the best score in a task, by the evaluations in its folder.

A score counts where the evaluation was of the checkpoint that is there now, and of the same rows as
the others'. Whether higher is better is the harness's own statement.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.evaluations import Evaluation, higher_is_better, read_evaluations
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage_settings import Best

_STEP = re.compile(r"step-([0-9]{1,12})")
_NAMED = 5
"""Checkpoints without a score that a message names."""


@frozen
class Scored:
    """A checkpoint and its score."""

    step: int
    metric: str
    value: float
    """In the metric's own unit."""
    higher: bool
    """Whether a higher value is a better one."""
    evaluation: str
    """The run that measured it."""

    @property
    def name(self) -> str:
        """Return the name of the checkpoint's folder."""
        return f"step-{self.step}"


def settings_of(recipe: Recipe) -> Best | None:
    """Return how a recipe has the best checkpoint chosen, None where no task chooses it."""
    named = best_task(recipe)
    if named is None:
        return None
    return Best(task=named.task, metric=named.metric, limit=recipe.evaluate.limit)


def saved(run: RunFolder, events: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Return the steps of all checkpoints that were saved, and when the last time (Unix seconds).

    One that was found damaged counts no more, unless it was saved again. One without an event, such
    as a copy from elsewhere, has the time 0.
    """
    found: dict[int, float] = {}
    for event in events:
        step, time = event.get("step"), event.get("time")
        if event.get("event") == "checkpoint" and isinstance(step, int):
            found[step] = float(time) if isinstance(time, int | float) else 0.0
        elif event.get("event") == "checkpoint damaged":
            damaged = _STEP.fullmatch(str(event.get("path")))
            found.pop(int(damaged[1]) if damaged else -1, None)
    with contextlib.suppress(OSError):
        for path in run.checkpoints.iterdir():
            match = _STEP.fullmatch(path.name)
            if match and path.is_dir():
                found.setdefault(int(match[1]), 0.0)
    return found


def scores(
    evaluations: Iterable[Evaluation], times: Mapping[int, float], wanted: Best
) -> dict[int, Scored]:
    """Return the scores that count by step, of several evaluations of one the newest.

    Raises UserError where nothing says which value is better.
    """
    found: dict[int, Scored] = {}
    for evaluation in sorted(evaluations, key=lambda each: each.created):
        match = _STEP.fullmatch(evaluation.checkpoint or "")
        same = (evaluation.limit, evaluation.fewshot, evaluation.chat) == (
            wanted.limit,
            None,
            False,
        )
        measured = evaluation.scores.get(wanted.task, {})
        if match is None or not same or not measured:
            continue
        step = int(match[1])
        metric = wanted.metric or next(iter(measured))
        if metric in measured and step in times and evaluation.created >= times[step]:
            higher = higher_is_better(evaluation, wanted.task, metric)
            if higher is None:
                raise UserError(
                    f"lm-evaluation-harness does not say whether a higher {metric} of "
                    f"{wanted.task} is better",
                    "name another metric: checkpoints.best: TASK/METRIC",
                )
            value = measured[metric].value
            found[step] = Scored(step, metric, value, higher, evaluation.name)
    if len({(each.metric, each.higher) for each in found.values()}) > 1:
        raise UserError(
            f"the evaluations have different first metrics of {wanted.task}: "
            f"{', '.join(sorted({each.metric for each in found.values()}))}",
            "name one: checkpoints.best: TASK/METRIC",
        )
    return found


def best_of(found: Iterable[Scored]) -> Scored | None:
    """Return the best of some scores, of equal ones the earlier step's."""
    ordered = sorted(found, key=lambda one: (-one.value if one.higher else one.value, one.step))
    return next(iter(ordered), None)


def best_so_far(recipe: Recipe, run: RunFolder) -> str | None:
    """Return the checkpoint with the best score so far, which must stay; None without a score."""
    wanted = settings_of(recipe)
    if wanted is None:
        return None
    times = saved(run, read_events(run.events))
    found = best_of(scores(read_evaluations(run), times, wanted).values())
    return found.name if found else None


def choose(run: RunFolder, wanted: Best) -> Scored:
    """Return the checkpoint with the best score.

    Raises UserError where a checkpoint has no score, unless those may be left out, and where the
    best one is not there any more.
    """
    events = read_events(run.events)
    times = saved(run, events)
    found = scores(read_evaluations(run), times, wanted)
    missing = sorted(times.keys() - found.keys())
    if missing and not (wanted.evaluated_only and found):
        raise _no_scores(run, wanted, missing, events, some=bool(found))
    best = best_of(found.values())
    if best is None:
        raise UserError(
            f"run {run.root.name} has no checkpoint to choose from", "set checkpoints.every_steps"
        )
    if not (run.checkpoints / best.name).is_dir():
        raise UserError(
            f"run {run.root.name}: {best.name} has the best {best.metric} of {wanted.task} "
            f"({best.value:.4f}), and it is not in {run.checkpoints} any more",
            "bring it back, or take another as it is: hpclaunch merge or generate --checkpoint",
        )
    return best


def task_name(wanted: Best) -> str:
    """Return the task as `checkpoints.best` names it: `hellaswag`, `hellaswag/acc_norm`."""
    return f"{wanted.task}/{wanted.metric}" if wanted.metric else wanted.task


def _no_scores(
    run: RunFolder,
    wanted: Best,
    missing: list[int],
    events: list[dict[str, Any]],
    *,
    some: bool,
) -> UserError:
    """Return the refusal of a choice among checkpoints of which some have no score."""
    reasons = [f"step-{step} ({_reason(f'step-{step}', events)})" for step in missing[:_NAMED]]
    more = f" and {len(missing) - _NAMED} others" if len(missing) > _NAMED else ""
    name = quote(run.root.name)
    here = [step for step in missing if (run.checkpoints / f"step-{step}").is_dir()]
    limit = f" --limit {wanted.limit}" if wanted.limit else ""
    fixes = [
        f"hpclaunch eval {name} --checkpoint step-{step} --tasks {quote(wanted.task)}"
        f"{limit} --no-base"
        for step in here[:1]
    ]
    fix = f"evaluate {'each' if len(missing) > 1 else 'it'}: {fixes[0]}; " if fixes else ""
    if some:
        fix += f"without {'them' if len(missing) > 1 else 'it'}: hpclaunch best {name}"
        fix += " --evaluated-only"
    else:
        fix += f"then: hpclaunch best {name}" if fix else "no checkpoint is left to evaluate"
    return UserError(
        f"run {run.root.name}: no score in {task_name(wanted)} of {', '.join(reasons)}{more}", fix
    )


def _reason(checkpoint: str, events: Iterable[Mapping[str, Any]]) -> str:
    """Return why a checkpoint has no score, as far as the run's events say it."""
    reason = "not evaluated"
    for event in events:
        if event.get("checkpoint") != checkpoint:
            continue
        if event.get("event") == "evaluation failed":
            reason = f"not evaluated: {event.get('why')}"
        elif event.get("event") == "evaluation":
            reason = f"its evaluation left none: hpclaunch why {quote(str(event.get('run')))}"
    return reason
