"""`hpclaunch sbatch ... --then merge --then 'eval tasks=a,b'`: stages that follow one run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hpclaunch.document import parse_value
from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.pipeline.draft import DraftedPipeline, DraftedStage
from hpclaunch.pipeline.record import COPY
from hpclaunch.pipeline.takes import (
    leaves_weights,
    shape_after,
    source_of,
    stage_settings,
    takes_weights,
)
from hpclaunch.plan.resources import Resources
from hpclaunch.run.find import default_runs_dir, next_name
from hpclaunch.site.sbatch_options import kept_by
from hpclaunch.stages.draft import StageRequest, draft_stage
from hpclaunch.stages.registry import stage_called

FIRST = "train"
"""Name of the stage that the others follow."""


def draft_then(request: Request, then: Sequence[str]) -> DraftedPipeline:
    """Return a run and the stages that follow it as a pipeline. Writes nothing.

    Each stage takes the weights of the last one before it that leaves some. Raises UserError.
    """
    runs_dir = (request.runs_dir or default_runs_dir()).absolute()
    tried = draft(request)
    name = request.name or next_name(runs_dir, tried.plan.launch.numbered)
    request = replace(request, runs_dir=runs_dir, group=name)
    first = draft(replace(request, name=f"{name}.{FIRST}"))
    kind = "command" if request.program else "recipe"
    shape = shape_after(first, kind, (), ())
    stages = [DraftedStage(FIRST, kind, (), first, shape_of=shape)]
    for text in then:
        words = _words(text)
        taken = next(stage for stage in reversed(stages) if leaves_weights(stage.kind))
        takes_weights(taken.name, taken.kind, taken.job.plan.recipe)
        stages.append(_stage(request, name, words, taken, [stage.name for stage in stages]))
    folder = runs_dir / name
    for path in (folder, *(stage.job.plan.launch.folder for stage in stages)):
        if path.exists():
            raise UserError(f"{path} exists already", "choose another --name")
    text = f"# {shlex.join(request.command)}\n"
    return DraftedPipeline(name, folder, first.plan.launch.cwd / COPY, text, tuple(stages))


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--then {text!r}: {error}", "close every quote") from None
    if not words:
        raise UserError("--then: a stage's name is missing", "write --then merge")
    return words


def _stage(
    request: Request, name: str, words: Sequence[str], taken: DraftedStage, names: Sequence[str]
) -> DraftedStage:
    kind, *settings = words
    stage = stage_called(kind)
    values: dict[str, Any] = {}
    for word in settings:
        key, sign, text = word.partition("=")
        if not sign:
            raise UserError(
                f"--then {kind}: {word!r} is no setting", f"write --then '{kind} KEY=VALUE'"
            )
        values[key] = parse_value(text)
    source = source_of(taken.job, taken.kind, shape_of=taken.shape_of)
    made = stage_settings(kind, values)
    number = 1 + sum(each.partition("-")[0] == kind for each in names)
    own = kind if number == 1 else f"{kind}-{number}"
    resources = _resources(request.resources, stage.place(made, (source,)), parallel=stage.parallel)
    wanted = StageRequest(
        made,
        (source,),
        replace(
            request,
            recipe=None,
            overrides=(),
            changes=type(request.changes)(),
            auto_sharding=False,
            auto_batch=False,
            resources=resources,
            program=(),
            name=f"{name}.{own}",
        ),
    )
    job = draft_stage(wanted)
    shape = shape_after(job, kind, (), (source,))
    return DraftedStage(own, kind, (taken.name,), job, wanted=wanted, shape_of=shape)


def _resources(requested: Resources, place: str, *, parallel: bool) -> Resources:
    """Return what a stage after a run requests: its queue and time, and GPUs where it uses some."""
    kept = {key: getattr(requested, key) for key in kept_by("stage")}
    if place == "cpu" or requested.cpu_processes:
        return Resources(cpu_processes=1, **kept)
    return Resources(gpu=requested.gpu, gpus=requested.gpus if parallel else 1, **kept)
