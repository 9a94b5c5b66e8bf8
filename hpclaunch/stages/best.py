"""Best: the checkpoint of a run with the best score in a task, as final weights, in RUN/final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from hpclaunch.diagnose.state import run_state
from hpclaunch.errors import UserError
from hpclaunch.predict.inference import PROCESS
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES
from hpclaunch.recipe.best import parse_best_task
from hpclaunch.recipe.load import load
from hpclaunch.run.best_score import choose, settings_of
from hpclaunch.run.find import find
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.run.stage import Source, read_stage
from hpclaunch.run.stage_settings import Best
from hpclaunch.run.weight_files import fingerprint
from hpclaunch.stages.each_checkpoint import still_waiting
from hpclaunch.stages.loaded import loaded_model
from hpclaunch.stages.need import Need, Unknown
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Rows, Stage


def best_source(run: RunFolder, mark: str = "") -> KnownSource:
    """Return a run whose best checkpoint is taken; `mark`: the fingerprint of that checkpoint,
    where it is known already. Raises UserError."""
    source = Source(name=run.root.name, run=str(run.root), fingerprint=mark)
    return KnownSource(source, None, recipe=load(str(run.recipe)))


def best_now(
    reference: str | None, task: str | None = None, *, evaluated_only: bool = False
) -> tuple[Best, KnownSource]:
    """Return what takes the best checkpoint of a run that has ended, with all evaluations.

    Without `task` (TASK or TASK/METRIC) it is the recipe's. Raises UserError where there is no such
    choice, or not yet.
    """
    folder, record = find(reference)
    name = folder.root.name
    if read_stage(folder) is not None:
        raise UserError(f"run {name} is a stage and has no checkpoints", "name the training's run")
    state = run_state(folder, record).state
    if state in {"queued", "running"}:
        raise UserError(
            f"run {name} is {state}: its best checkpoint is known once it has ended",
            f"hpclaunch status {quote(name)}",
        )
    recipe = load(str(folder.recipe))
    wanted = settings_of(recipe)
    if task is not None:
        named = parse_best_task(task, recipe.evaluate.tasks)
        wanted = Best(task=named.task, metric=named.metric, limit=recipe.evaluate.limit)
    if wanted is None:
        raise UserError(
            f"run {name}: checkpoints.best is {recipe.checkpoints.best or 'not set'}, no task",
            "name one that its checkpoints were evaluated with: --task hellaswag",
        )
    wanted = Best(
        task=wanted.task,
        metric=wanted.metric,
        limit=wanted.limit,
        evaluated_only=evaluated_only,
    )
    pending = still_waiting(folder)
    if pending:
        raise UserError(
            f"run {name}: the evaluation of {', '.join(sorted(pending))} has not ended",
            "wait for it: hpclaunch ls",
        )
    chosen = choose(folder, wanted)
    return wanted, best_source(folder, fingerprint(folder.checkpoints / chosen.name))


def check(settings: Best, sources: Sequence[KnownSource]) -> None:
    """Refuse what is no training that was submitted. Raises UserError."""
    for known in sources:
        run = None if known.source.run is None else RunFolder(Path(known.source.run))
        if run is None:
            raise UserError(f"{known.source.name} is a model and has no checkpoints", "name a run")
        if read_stage(run) is not None:
            raise UserError(f"run {known.source.name} is a stage and has no checkpoints")
        if not run.record.is_file():
            raise UserError(
                f"best cannot follow {known.source.name} in a chain: its evaluations are jobs that "
                "are not submitted yet",
                "set checkpoints.best: TASK in its recipe, and it submits the stage at its end",
            )
        read_record(run)


def need(settings: Best, sources: Sequence[KnownSource]) -> Need | Unknown:
    """Return the memory of what was trained: as the checkpoint holds it, and as it is written."""
    used = loaded_model(sources[0])
    if isinstance(used, Unknown):
        return used
    trained = used.adapter_parameters or used.model.parameters
    return Need(cpu_bytes=int(PROCESS + (FP32_BYTES + BF16_BYTES) * trained))


def rows(values: Mapping[str, Any]) -> Rows:
    """Return which checkpoint was taken and what the others have, as label and text."""
    value, scores = values.get("value"), values.get("scores")
    if not isinstance(value, int | float) or not isinstance(scores, Mapping):
        return []
    better = "higher" if values.get("higher_is_better") else "lower"
    found: Rows = [
        (
            "best",
            f"{values.get('checkpoint')}: {values.get('task')} {values.get('metric')} {value:.4f} "
            f"({better} is better)",
        )
    ]
    others = [
        f"{name} {each:.4f}" for name, each in scores.items() if name != values.get("checkpoint")
    ]
    if others:
        found.append(("others", ", ".join(others)))
    left_out = values.get("left_out")
    if isinstance(left_out, list) and left_out:
        found.append(("note", f"without a score, left out: {', '.join(map(str, left_out))}"))
    return found


STAGE = Stage(settings=Best, rows=rows, check=check, need=need)
