"""A stage of a pipeline that has no run yet, drafted once more from the pipeline's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpclaunch.document import Document, parse, read_text
from hpclaunch.errors import UserError
from hpclaunch.pipeline.draft import DraftedStage, Where, draft_pipeline
from hpclaunch.pipeline.order import waits_for
from hpclaunch.pipeline.record import COPY, Pipeline
from hpclaunch.pipeline.schema import PipelineSpec, to_spec


def draft_stage_anew(
    folder: Path, pipeline: Pipeline, name: str, command: Sequence[str] = ()
) -> DraftedStage:
    """Return a stage as the file says it now, under the name that it was to have.

    Raises UserError, where the file has other stages than it had, too.
    """
    file = Path(pipeline.file)
    spec, document, text = read_again(folder, pipeline)
    order = [(stage.name, tuple(stage.after)) for stage in pipeline.stages]
    if list(waits_for(spec, document, file.parent).items()) != order:
        raise UserError(
            f"{document.source} has other stages than when {folder.name} was started",
            f"put them back (as they were: {folder / COPY}), or start it anew",
        )
    where = Where(pipeline.mode, folder.name, folder.parent, tuple(command))
    drafted = draft_pipeline(spec, document, text, file, where, go_on=True)
    return next(stage for stage in drafted.stages if stage.name == name)


def read_again(folder: Path, pipeline: Pipeline) -> tuple[PipelineSpec, Document, str]:
    """Return the file of a pipeline, or its copy where it is gone. Raises UserError."""
    file = Path(pipeline.file)
    path = file if file.is_file() else folder / COPY
    text = read_text(path, "pipeline")
    document = parse(text, str(path))
    return to_spec(document), document, text
