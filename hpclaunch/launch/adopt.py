"""Take another's run, or one that was fetched, as a run of one's own: its data, not its code.

Recipe, newest checkpoint, final weights and events are taken; the script is written anew. The
program, the Python and the modules that a run.json names, and the reward functions of a recipe, are
taken only where the user says so: they would run as the user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.adopted_files import Copied, copy_results
from hpclaunch.launch.draft import draft, site_here
from hpclaunch.launch.request import Request
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.load import load, split_override
from hpclaunch.recipe.rewards import BUILTIN
from hpclaunch.recipe.rewards import KEY as REWARDS
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record

KNOWN_REWARDS = ("trl.rewards:", f"{BUILTIN}:")
SHAPE = ("nodes", "gpus", "gpu", "cpu_processes", "cpus", "exclusive", "time", "mem")
"""What is taken of the resources: how much. Accounts, partitions and options are their owner's."""


@frozen
class Adoption:
    """How a run is taken; what is left out is as for a new run."""

    name: str | None = None
    """By default its folder's own."""
    runs_dir: Path | None = None
    site: str | None = None
    venv: Path | None = None
    modules: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Resources that are others than the run's."""
    overrides: tuple[str, ...] = ()
    """Changes to the recipe: where data and model lie here."""
    with_program: bool = False
    """Take the program, the Python and the modules that its run.json names, too, and the reward
    functions of its recipe."""
    command: tuple[str, ...] = ()


@frozen
class Adopted:
    """A run that was taken."""

    folder: RunFolder
    record: Record
    copied: Copied
    reset: tuple[str, ...]
    """What of the recipe was taken out: where its owner's copies and curves go."""


def names_code(folder: RunFolder, record: Record) -> list[str]:
    """Return what of a run would run as the user, each in a few words."""
    named = []
    with suppress(UserError):
        rewards = foreign_rewards(load(str(folder.recipe), own_program=bool(record.program)))
        named += [f"reward functions {' '.join(rewards)}"] if rewards else []
    if record.program:
        named.append(f"program {' '.join(record.program)}")
    if record.python:
        named.append(f"Python {record.python}")
    if record.modules:
        named.append(f"modules {' '.join(record.modules)}")
    return named


def foreign_rewards(recipe: Recipe) -> list[str]:
    """Return a recipe's reward functions but TRL's and hpclaunch's: a run executes them."""
    return [name for name in recipe.method.grpo.rewards if not name.startswith(KNOWN_REWARDS)]


def adopt(
    folder: RunFolder,
    record: Record,
    adoption: Adoption,
    variables: Mapping[str, str] = os.environ,
) -> Adopted:
    """Make a run folder of one's own out of another run; nothing is started. Raises UserError."""
    if record.program and not adoption.with_program:
        raise UserError(
            f"run {record.name} runs a program of its owner's: {' '.join(record.program)}",
            "look at it; to take it, and the Python and modules of its run.json: --with-program",
        )
    job, reset = _draft(folder, record, adoption, variables)
    copied = Copied()

    def fill(new: RunFolder) -> None:
        nonlocal copied
        copied = copy_results(folder, new)

    written = write_folder(job, fill)
    return Adopted(written.folder, written.record, copied, reset)


def _draft(
    folder: RunFolder, record: Record, adoption: Adoption, variables: Mapping[str, str]
) -> tuple[Job, tuple[str, ...]]:
    """Plan the run as one of one's own; returns what of its recipe was taken out, too."""
    _check_overrides(adoption.overrides)
    theirs = load(str(folder.recipe), adoption.overrides, own_program=bool(record.program))
    chosen = any(split_override(word)[0] == REWARDS for word in adoption.overrides)
    if not (chosen or adoption.with_program) and (code := foreign_rewards(theirs)):
        raise UserError(
            f"run {record.name} runs reward functions of its owner's: {' '.join(code)}",
            f"look at them; to take them: --with-program; or name your own: {REWARDS}=[FILE.py:F]",
        )
    reset, overrides = _reset(theirs, adoption.overrides)
    local = record.mode == "local"
    trusted = adoption.with_program
    request = Request(
        mode=record.mode,
        recipe=str(folder.recipe),
        overrides=(*adoption.overrides, *overrides),
        resources=_resources(record, adoption.changes),
        site=None if local else adoption.site or site_here(record.mode),
        name=adoption.name or record.name,
        runs_dir=adoption.runs_dir,
        venv=adoption.venv or (Path(record.python) if trusted and record.python else None),
        modules=adoption.modules or (tuple(record.modules) if trusted else ()),
        program=tuple(record.program) if trusted else (),
        command=adoption.command,
    )
    return draft(request, variables), reset


def _reset(recipe: Recipe, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return what of a recipe is taken out, and the overrides that do so.

    What sends its owner something, and what runs code of theirs: task files may name functions.
    """
    typed = {split_override(word)[0] for word in overrides}
    mlflow = {"tracking.mlflow.uri", "tracking.mlflow.enabled"}
    trackio = {"tracking.trackio.space", "tracking.trackio.enabled"}
    found: dict[str, str] = {}
    if recipe.checkpoints.sync_to and "checkpoints.sync_to" not in typed:
        found["checkpoints.sync_to=null"] = f"checkpoints.sync_to: {recipe.checkpoints.sync_to}"
    if recipe.tracking.wandb.enabled and "tracking.wandb.enabled" not in typed:
        found["tracking.wandb.enabled=false"] = "tracking.wandb"
    if recipe.tracking.mlflow.enabled and recipe.tracking.mlflow.uri and not mlflow & typed:
        found["tracking.mlflow.uri=null"] = f"tracking.mlflow.uri: {recipe.tracking.mlflow.uri}"
    if recipe.tracking.trackio.enabled and recipe.tracking.trackio.space and not trackio & typed:
        found["tracking.trackio.space=null"] = (
            f"tracking.trackio.space: {recipe.tracking.trackio.space}"
        )
    if recipe.evaluate.tasks_dir and "evaluate.tasks_dir" not in typed:
        found["evaluate.tasks_dir=null"] = f"evaluate.tasks_dir: {recipe.evaluate.tasks_dir}"
        if not any(key.startswith("evaluate.") for key in typed):  # they are tasks of that folder
            found["evaluate.every=null"] = "evaluate.every"
            found["evaluate.tasks=[]"] = "evaluate.tasks"
            if best_task(recipe) is not None and "checkpoints.best" not in typed:
                found["checkpoints.best=null"] = f"checkpoints.best: {recipe.checkpoints.best}"
    return tuple(found.values()), list(found)


def _resources(record: Record, changes: Mapping[str, Any]) -> Resources:
    """Return how much is requested: as much as then, and what is requested now."""
    kept = {name: value for name, value in record.resources.items() if name in SHAPE}
    if changes.get("gpus"):
        kept["cpu_processes"] = None
    if changes.get("cpu_processes"):
        kept["gpus"] = kept["gpu"] = None
    return replace(Resources(**kept), **changes)


def _check_overrides(overrides: Sequence[str]) -> None:
    """Refuse another model or method: the checkpoint belongs to these. Raises UserError.

    Where model and data lie may differ, and what scores completions.
    """
    for key in (split_override(word)[0] for word in overrides):
        if key.startswith(("method.", "model.")) and key not in {REWARDS, "model.name"}:
            raise UserError(
                f"{key} cannot be changed: the checkpoint belongs to the run's own",
                "start a new run",
            )
