"""A pipeline's file to jobs, each drafted and checked before anything is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.pipeline.order import absolute, waits_for
from hpclaunch.pipeline.references import references, resolved
from hpclaunch.pipeline.schema import PipelineSpec, StageSpec, as_list
from hpclaunch.pipeline.takes import shape_after, source_of, stage_settings, takes_weights
from hpclaunch.plan.resources import Mode, Resources, check_name
from hpclaunch.recipe.paths import is_local
from hpclaunch.render.job import Job
from hpclaunch.run.find import default_runs_dir, next_name
from hpclaunch.stages.draft import StageRequest, draft_stage

_PATH_KEYS = ("model.name", "data.name", "data.validation", "training.chat_template_path")


@frozen
class DraftedStage:
    """A stage of a pipeline, ready to be written."""

    name: str
    kind: str
    """`recipe`, `command` or the name of the stage of hpclaunch."""
    after: tuple[str, ...]
    """Stages that must be done before it."""
    job: Job
    pending: tuple[str, ...] = ()
    """Paths that earlier stages make."""
    wanted: StageRequest | None = None
    """Of a stage of hpclaunch."""
    shape_of: str = ""
    """A model of the shape that its weights will have; '' where that is not known."""


@frozen
class DraftedPipeline:
    """A pipeline, ready to be written."""

    name: str
    folder: Path
    file: Path
    """That it was read from; programs start in its folder."""
    text: str
    stages: tuple[DraftedStage, ...]
    """In an order in which they can run."""


@frozen
class Where:
    """Where and under which name a pipeline runs."""

    mode: Mode
    name: str | None = None
    """By default the file's, with the next free number."""
    runs_dir: Path | None = None
    command: tuple[str, ...] = ()
    """What was typed, for the records."""


def draft_pipeline(
    spec: PipelineSpec,
    document: Document,
    text: str,
    file: Path,
    where: Where,
    *,
    go_on: bool = False,
) -> DraftedPipeline:
    """Return the jobs of a pipeline. Writes nothing.

    `go_on`: its folders may be there already. Raises UserError, with the place in the file, for
    whatever cannot be.
    """
    file = file.expanduser().absolute()
    waits = waits_for(spec, document, file.parent)
    runs_dir = (where.runs_dir or default_runs_dir()).absolute()
    name = where.name or next_name(runs_dir, spec.name or file.stem)
    check_name(name)
    drafter = _Drafter(spec, file, name, runs_dir, where)
    for each, after in waits.items():
        try:
            drafter.draft(each, after)
        except UserError as error:
            place = document.where(("stages", each))
            raise UserError(f"{place}: {each}: {error.message}", error.fix) from None
    for folder in (runs_dir / name, *(s.job.plan.launch.folder for s in drafter.done.values())):
        if folder.exists() and not go_on:
            raise UserError(f"{folder} exists already", "choose another --name")
    return DraftedPipeline(name, runs_dir / name, file, text, tuple(drafter.done.values()))


class _Drafter:
    """Drafts one stage after the other: what one leaves is known to those after it."""

    def __init__(
        self,
        spec: PipelineSpec,
        file: Path,
        name: str,
        runs_dir: Path,
        where: Where,
    ) -> None:
        self.done: dict[str, DraftedStage] = {}
        self._spec, self._folder = spec, file.parent
        self._name, self._runs_dir, self._where = name, runs_dir, where
        self._outputs = [
            str(absolute(output, self._folder))
            for stage in spec.stages.values()
            for output in as_list(stage.outputs)
        ]

    def draft(self, name: str, after: tuple[str, ...]) -> None:
        """Draft one stage. Raises UserError."""
        stage = self._spec.stages[name]
        finals = [
            self._place(other, part)
            for other, part in references([stage.set, stage.command])
            if part == "final"
        ]
        pending = (*finals, *self._outputs)
        request = Request(
            mode=self._where.mode,
            resources=_resources(self._spec, stage),
            site=None if self._where.mode == "local" else self._spec.site,
            name=f"{self._name}.{name}",
            runs_dir=self._runs_dir,
            venv=None if self._spec.venv is None else absolute(self._spec.venv, self._folder),
            modules=tuple(self._spec.modules),
            command=self._where.command,
            group=self._name,
            cwd=self._folder,
            pending=pending,
            shape_of=self._shape(stage),
        )
        wanted = None
        if stage.stage:
            wanted = self._stage_request(stage, request)
            job = draft_stage(wanted)
        elif stage.command:
            words = resolved(stage.command, self._place)
            job = draft(replace(request, program=tuple(words)))
        else:
            job = draft(
                replace(request, recipe=self._recipe(stage), overrides=self._overrides(stage))
            )
        shape = shape_after(job, stage.kind, pending, wanted.sources if wanted else ())
        self.done[name] = DraftedStage(name, stage.kind, after, job, pending, wanted, shape)

    def _place(self, name: str, part: str) -> str:
        """Return the folder that a reference stands for. Raises UserError where there is none."""
        made = self.done[name]
        if part == "final":
            takes_weights(made.name, made.kind, made.job.plan.recipe)
        folder = made.job.plan.launch.folder
        return str(folder / "final" if part == "final" else folder)

    def _shape(self, stage: StageSpec) -> str:
        """Return a model of the shape that a recipe's model will have, made by an earlier stage."""
        found = references(stage.set.get("model.name"))
        return next((self.done[other].shape_of for other, part in found if part == "final"), "")

    def _recipe(self, stage: StageSpec) -> str:
        text = str(stage.recipe)
        beside = absolute(text, self._folder)
        return str(beside) if beside.is_file() or "/" in text else text

    def _overrides(self, stage: StageSpec) -> tuple[str, ...]:
        """Return `set` as overrides; a file of the user's counts from the pipeline's folder."""
        words = []
        for key, written in stage.set.items():
            for other, part in references(written):
                if part == "final" and key == "model.name":
                    self._refuse_adapter(other)
            value = resolved(written, self._place)
            if key in _PATH_KEYS and isinstance(value, str):
                value = self._absolute(value)
            elif key == "data.sources" and isinstance(value, list):
                value = [self._source(each) for each in value]
            words.append(f"{key}={json.dumps(value)}")
        return tuple(words)

    def _source(self, value: Any) -> Any:
        """Return an entry of `data.sources` with its path from the file's folder."""
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return value  # refused where the recipe is read
        return {**value, "name": self._absolute(value["name"])}

    def _absolute(self, value: str) -> str:
        """Return what is a path as it counts from the file's folder; a hub id as it is."""
        path = absolute(value, self._folder)
        there = path.exists() and not value.startswith("builtin:")
        return str(path) if there or is_local(value) or str(path) in self._outputs else value

    def _refuse_adapter(self, name: str) -> None:
        """Refuse to train on an adapter without its base. Raises UserError."""
        made = self.done[name]
        if made.kind == "recipe" and made.job.plan.recipe.method.kind != "full":
            raise UserError(
                f"model.name: {name} leaves an adapter, and a training starts from a whole model",
                f"merge it before: a stage with stage: merge and of: {name}",
            )

    def _stage_request(self, stage: StageSpec, request: Request) -> StageRequest:
        settings = stage_settings(str(stage.stage), resolved(stage.settings, self._place))
        if not as_list(stage.of):
            raise UserError("it says not what it takes", "add of: STAGE, or of: RUN or MODEL")
        sources = []
        for reference in as_list(stage.of):
            made = self.done.get(reference)
            if made is None:
                sources.append(source_of(reference))
            else:
                takes_weights(made.name, made.kind, made.job.plan.recipe)
                sources.append(source_of(made.job, made.kind, made.pending, made.shape_of))
        return StageRequest(settings, tuple(sources), request)


def _resources(spec: PipelineSpec, stage: StageSpec) -> Resources:
    """Return a stage's resources: its own, key by key, over those of the pipeline."""
    merged: dict[str, Any] = {}
    for part in (spec.resources, stage.resources):
        given: dict[str, Any] = {} if part is None else structs.asdict(part)
        given = {key: value for key, value in given.items() if value not in (None, False)}
        if given.get("gpus") or given.get("gpu"):
            merged.pop("cpu_processes", None)
        if given.get("cpu_processes"):
            merged = {key: value for key, value in merged.items() if key not in {"gpus", "gpu"}}
        merged |= given
    return Resources(**merged)
