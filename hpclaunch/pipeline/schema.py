"""The file of a pipeline, typed: its stages with their inputs, resources and order."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from hpclaunch.document import Document, convert, parse, read_text
from hpclaunch.errors import UserError
from hpclaunch.plan.resources import Resources
from hpclaunch.site.sbatch_options import OF_SUBMISSION

_NOT_IN_A_FILE = ("sbatch_arguments", *OF_SUBMISSION)
"""Fields of Resources that a stage has not: the pipeline sets them, or sbatch alone has them."""
_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
MOST_STAGES = 100
"""Number of stages that a pipeline has at most."""

Names = str | list[str]


def _resource_fields() -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(Resources)
    return [
        (item.name, hints[item.name], False if item.name == "exclusive" else None)
        for item in fields(Resources)
        if item.name not in _NOT_IN_A_FILE
    ]


StageResources = msgspec.defstruct(
    "StageResources", _resource_fields(), frozen=True, kw_only=True, module=__name__
)
"""`resources` of a stage or of the whole pipeline: the options of sbatch, without their dashes."""


class StageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: a recipe to train, a stage of hpclaunch, or a program."""

    recipe: str | None = None
    """Name of a recipe, or its file."""
    set: dict[str, Any] = {}
    """Dotted keys of the recipe and their values; `${STAGE.final}` is the model that a stage
    leaves."""
    stage: str | None = None
    """A stage of hpclaunch: merge, eval, quantize ..."""
    of: Names = []
    """What it takes: stages of this pipeline, runs or models."""
    settings: dict[str, Any] = {}
    """Its settings."""
    command: list[str] = []
    """A program and its arguments, started as by `sbatch -- PROGRAM`; `${STAGE.final}` stands for a
    folder there, too."""
    inputs: Names = []
    """Files that the stage reads: there before, or among the outputs of an earlier stage."""
    outputs: Names = []
    """Files that a command leaves, for later stages."""
    after: Names = []
    """Stages that must be done first, beside those that it takes something from."""
    resources: StageResources | None = None  # type: ignore[valid-type]  # made above
    """In place of the pipeline's, key by key."""

    @property
    def kind(self) -> str:
        """`recipe`, `command` or the name of the stage of hpclaunch."""
        return self.stage or ("command" if self.command else "recipe")


class PipelineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    name: str | None = None
    """By default that of the file."""
    resources: StageResources | None = None  # type: ignore[valid-type]  # made above
    """For every stage that names none of its own."""
    site: str | None = None
    venv: str | None = None
    modules: list[str] = []
    stages: dict[str, StageSpec]


def as_list(names: Names) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


def read_pipeline(path: Path) -> tuple[PipelineSpec, Document, str]:
    """Return a pipeline's file, its document for places in messages, and its text.

    Raises UserError naming file, line and key.
    """
    text = read_text(path.expanduser(), "pipeline")
    document = parse(text, str(path))
    return to_spec(document), document, text


def to_spec(document: Document) -> PipelineSpec:
    """Return a document as a pipeline. Raises UserError naming file, line and key."""
    stages = document.data.get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        try:
            convert(Document(document.source, {"stages": {name: stage}}, document.origin), _Stages)
        except UserError as error:
            raise _with_stage(error, document, name) from None
    return check_shape(convert(document, PipelineSpec), document)


class _Stages(msgspec.Struct, frozen=True):
    """A stage alone: where several are converted, an error does not name the one it is of."""

    stages: dict[str, StageSpec]


def _with_stage(error: UserError, document: Document, name: str) -> UserError:
    """Return an error with the stage that it is of."""
    match = re.match(r".*?: stages((?:\.[A-Za-z_]+)*): (.*)", error.message)
    if match is None:
        return error
    keys = match.group(1).strip(".").split(".") if match.group(1) else []
    where = document.where(("stages", name, *keys))
    return UserError(f"{where}: stages.{name}{match.group(1)}: {match.group(2)}", error.fix)


def check_shape(spec: PipelineSpec, document: Document) -> PipelineSpec:
    """Refuse stages without a name or with several things to do. Raises UserError."""
    if not spec.stages:
        raise UserError(f"{document.where(('stages',))}: a pipeline has at least one stage")
    if len(spec.stages) > MOST_STAGES:
        raise UserError(f"{document.where(('stages',))}: more than {MOST_STAGES} stages")
    for name, stage in spec.stages.items():
        where = document.where(("stages", name))
        if not _STAGE_NAME.fullmatch(name):
            raise UserError(
                f"{where}: {name!r} is no name of a stage",
                "use letters, digits, '_' and '-' (40 at most, a letter first)",
            )
        kinds = [
            key
            for key, value in (
                ("recipe", stage.recipe), ("stage", stage.stage), ("command", stage.command),
            )
            if value
        ]  # fmt: skip
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none of them"
            raise UserError(f"{where}: {name} has {found}", "give one of recipe, stage and command")
        only = {"set": "recipe", "of": "stage", "settings": "stage", "outputs": "command"}
        for key, kind in only.items():
            if getattr(stage, key) and kinds != [kind]:
                place = document.where(("stages", name, key))
                raise UserError(f"{place}: {key} belongs to a stage with {kind}")
    return spec
