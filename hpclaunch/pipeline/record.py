"""pipeline.json: the stages of a pipeline and the runs that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import check_name
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.group import PIPELINE_FILE, find_group, read_group

COPY = "pipeline.yaml"
"""The file as it was, beside pipeline.json."""


class PipelineStage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    name: str
    run: str
    """Name of its run folder, which lies beside the pipeline's."""
    kind: str
    """`recipe`, `command` or the name of a stage of hpclaunch."""
    after: list[str]
    pending: list[str] = []
    """Paths that earlier stages make."""


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """What pipeline.json holds."""

    format: int = 1
    created: float
    """Unix seconds."""
    name: str = ""
    """Of its folder as it was written."""
    command: list[str]
    mode: Literal["sbatch", "srun", "local"]
    file: str
    """That it was read from; programs start in its folder."""
    stages: list[PipelineStage]
    """In an order in which they can run."""


def find_pipeline(reference: str) -> tuple[Path, Pipeline]:
    """Return the folder of a pipeline and what it holds. Raises UserError where there is none."""
    folder = find_group(reference, PIPELINE_FILE)
    found = read_group(folder, PIPELINE_FILE, Pipeline)
    known: set[str] = set()
    for stage in found.stages:
        try:
            check_name(stage.run)
        except UserError:
            problem = f"{stage.run!r} is no run's name"
            raise UserError(f"{folder / PIPELINE_FILE} is damaged: {problem}") from None
        if not set(stage.after) <= known:
            problem = f"{stage.name} stands before what it waits for"
            raise UserError(f"{folder / PIPELINE_FILE} is damaged: {problem}")
        known.add(stage.name)
    return folder, found


def run_folder(folder: Path, stage: PipelineStage) -> RunFolder:
    """Return the run folder of a stage; it need not be there yet."""
    return RunFolder(folder.parent / stage.run)
