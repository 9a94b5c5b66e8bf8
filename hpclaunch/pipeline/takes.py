"""What a stage of hpclaunch takes from the pipeline: its settings, and earlier stages' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import msgspec

from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job
from hpclaunch.run.stage import Source
from hpclaunch.run.stage_settings import Settings
from hpclaunch.stages.registry import stage_called
from hpclaunch.stages.source import KnownSource, resolve


def stage_settings(name: str, values: Mapping[str, Any]) -> Any:
    """Return a stage's settings. Raises UserError for an unknown one and for a wrong value."""
    kind: type[Settings] = stage_called(name).settings
    known = list(kind.__struct_fields__)
    for key in values:
        if key not in known:
            raise UserError(f"settings: {name} has no setting '{key}'", nearest(key, known))
    try:
        return _convert(kind, {"stage": name, **values})
    except msgspec.ValidationError as error:
        raise UserError(f"settings: {str(error).replace(' - at `$', ' at `settings')}") from None


def _convert(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return settings; one text stands for a list of names too: `a,b`, and a sentence for one."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        listed = {
            key: tuple(value.split(",")) if not any(map(str.isspace, value)) else (value,)
            for key, value in values.items()
            if isinstance(value, str) and _takes_list(kind, key)
        }
        if not listed:
            raise
        return msgspec.convert({**values, **listed}, kind)


def _takes_list(kind: type[Settings], key: str) -> bool:
    """Whether a setting is a list of texts."""
    try:
        msgspec.convert(["a"], get_type_hints(kind, include_extras=True).get(key, int))
    except msgspec.ValidationError:
        return False
    return True


def leaves_weights(kind: str) -> bool:
    """Return whether a stage of this kind leaves a model or an adapter, or may do so."""
    return kind in {"recipe", "command"} or stage_called(kind).settings.output == "final"


def takes_weights(name: str, kind: str, recipe: Recipe) -> None:
    """Refuse to take weights of a stage that leaves none, or not yet. Raises UserError.

    `recipe`: that of the stage's job.
    """
    if kind == "recipe" and best_task(recipe) is not None:
        raise UserError(
            f"{name}: checkpoints.best: {recipe.checkpoints.best} is known only after its "
            "evaluations, which are jobs of their own: a chain cannot take it",
            "take checkpoints.best out, or give RUN-best to later commands once it is there",
        )
    if kind == "command":
        raise UserError(
            f"{name} is a program of your own: which weights it leaves is not known",
            "name the folder that it writes",
        )
    if kind != "recipe" and stage_called(kind).settings.output != "final":
        raise UserError(f"{name} ({kind}) leaves no model", "name the stage that made the model")


def source_of(
    made: Job | str, kind: str = "recipe", pending: Sequence[str] = (), shape_of: str = ""
) -> KnownSource:
    """Return what a stage takes: of an earlier stage's job, or of a run or model by its name.

    `pending`: paths that are not there yet when the earlier stage is drafted; `shape_of`: what
    `shape_after` says of that stage. Raises UserError.
    """
    if isinstance(made, str):
        return resolve(made)
    launch, recipe = made.plan.launch, made.plan.recipe
    source = Source(name=launch.name, run=str(launch.folder))
    if kind != "recipe":
        return KnownSource(source, None, shape_of=shape_of, writes_model=True)
    if recipe.model.name not in pending:
        return KnownSource(source, None, recipe=recipe)
    return KnownSource(source, None, recipe=recipe if shape_of else None, shape_of=shape_of)


def shape_after(
    made: Job, kind: str, pending: Sequence[str], sources: Sequence[KnownSource]
) -> str:
    """Return a model of the shape that a stage's weights will have: its hub id or folder.

    '' where that is not known: of a program of the user's own, and of quantized weights.
    """
    recipe, launch = made.plan.recipe, made.plan.launch
    if kind == "recipe":
        return launch.shape_of or ("" if recipe.model.name in pending else recipe.model.name)
    if kind != "merge" or not sources:
        return ""
    known = sources[0]
    whole = str(known.weights) if known.weights is not None and known.adapter is None else ""
    trained = known.recipe.model.name if known.recipe is not None else ""
    return known.shape_of or known.base or known.source.model or whole or trained
