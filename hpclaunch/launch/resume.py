"""Go on with a run that was stopped, cancelled or failed, from its newest checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources, StageLaunch
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.stage import read_stage, stage_text
from hpclaunch.site.sbatch_options import OF_SUBMISSION

FIXED = ("model", "data", "method")
"""Sections that a checkpoint belongs to: its tensors, their shapes, the samples already seen."""


def redraft(
    folder: RunFolder,
    record: Record,
    *,
    changes: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    command: Sequence[str] = (),
    site: str | None = None,
    venv: Path | None = None,
    modules: Sequence[str] = (),
    pending: Sequence[str] = (),
    cwd: Path | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Job:
    """Plan the rest of a run, in its own folder and by default in its own shape.

    `changes` are fields of Resources; site, Python environment and modules may be others, too.
    `pending` and `cwd` are as in a Request.
    Another dataset is taken with `force` only; another model or method never, because the
    checkpoint holds the old one's tensors. Raises UserError.
    """
    before = load(str(folder.recipe), pending=pending)
    after = load(str(folder.recipe), overrides, pending=pending)
    _check_same(before, after, force)
    return draft(
        Request(
            mode=record.mode,
            recipe=str(folder.recipe),
            overrides=tuple(overrides),
            resources=_resources(record, changes or {}),
            site=None if record.mode == "local" else site or record.site,
            name=folder.root.name,
            runs_dir=folder.root.parent,
            venv=venv or (Path(record.python) if record.python else None),
            modules=tuple(modules) or tuple(record.modules),
            program=tuple(record.program),
            stage=_stage(folder, record),
            command=tuple(command) or tuple(record.command),
            group=record.group,
            pending=tuple(pending),
            cwd=cwd,
        ),
        variables,
    )


def _stage(folder: RunFolder, record: Record) -> StageLaunch | None:
    """Return how a stage's run is started again; None for a training. Raises UserError."""
    found = read_stage(folder) if record.stage else None
    if found is None:
        return None
    return StageLaunch(record.stage, stage_text(found), found.parallel, found.sampled)


def _resources(record: Record, changes: Mapping[str, Any]) -> Resources:
    """Return what was requested then, overridden by what is requested now."""
    names = {field.name for field in fields(Resources)}
    kept = {name: value for name, value in record.resources.items() if name in names}
    for name in OF_SUBMISSION:  # of that one: the jobs it waited for have ended
        kept.pop(name, None)
    kept["sbatch_arguments"] = tuple(kept.get("sbatch_arguments", ()))
    if changes.get("gpus"):
        kept["cpu_processes"] = None
    if changes.get("cpu_processes"):
        kept["gpus"] = kept["gpu"] = None
    return replace(Resources(**kept), **changes)


def _check_same(before: Recipe, after: Recipe, force: bool) -> None:
    """Refuse to go on with something else. Raises UserError naming the first difference."""
    for section in FIXED:
        old = msgspec.to_builtins(getattr(before, section))
        new = msgspec.to_builtins(getattr(after, section))
        for key, was, now in _differences(section, old, new):
            if section == "data" and force:
                continue
            raise UserError(
                f"{key} was {was!r} and would be {now!r}: the checkpoint belongs to the old one",
                "start a new run"
                + (", or add --force to go on with other samples" if section == "data" else ""),
            )


def _differences(prefix: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Return dotted key, old and new value of everything that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        differences = []
        for key in sorted({*old, *new}):
            differences += _differences(f"{prefix}.{key}", old.get(key), new.get(key))
        return differences
    return [] if old == new else [(prefix, old, new)]
