"""Which folder of weights a user takes of a run, and the stages that took them: for `status`."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Any

from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.text import Row
    from hpclaunch.diagnose.stages_of import StageOf, Weights
    from hpclaunch.diagnose.state import Status
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record

_NAMES_ONE = re.compile(r"\bbest\b[\"']?:(?! *(null|~)? *$)", re.MULTILINE)
_MAX_RECIPE_BYTES = 1 << 22
SHOWN_STAGES = 8
"""Stages of a run that are printed, the newest; --json has all."""


def weights_rows(folder: RunFolder, record: Record, run: Status) -> list[Row]:
    """Return the weights to take, and the newest stages of them, each with what it wrote."""
    stages, weights = _found(folder, record, run)
    lines: list[Row] = []
    if weights.folder is not None:
        what = f" ({weights.what})" if weights.what else ""
        lines.append(("weights", f"{weights.folder}{what}"))
        if run.final and weights.folder != run.final:
            lines.append(("weights", f"those of the last step: {run.final}"))
    elif weights.what:
        lines.append(("weights", weights.what))
    if len(stages) > SHOWN_STAGES:
        more = f"{len(stages) - SHOWN_STAGES} older ones: hpclaunch status {quote(run.name)} --json"
        lines.append(("stages", more))
    for each in stages[-SHOWN_STAGES:]:
        of = "" if each.source == folder.root.name else f" of {each.source}"
        text = f"{each.stage}{of}: run {each.name}, {each.state}"
        if each.state == "failed":
            text += f": hpclaunch why {quote(each.name)}"
        elif each.final and each.final != weights.folder:
            text += f", {each.final}"
        lines.append(("stages", text))
    return lines


def weights_json(folder: RunFolder, record: Record, run: Status) -> dict[str, Any]:
    """Return the same for scripts: `weights` and `stages`."""
    from dataclasses import asdict

    stages, weights = _found(folder, record, run)
    return {"weights": asdict(weights), "stages": [asdict(each) for each in stages]}


def _found(folder: RunFolder, record: Record, run: Status) -> tuple[list[StageOf], Weights]:
    from hpclaunch.diagnose.stages_of import stages_of, weights_to_take

    stages = stages_of(folder)
    return stages, weights_to_take(run, stages, _best(folder, record))


def _best(folder: RunFolder, record: Record) -> str | None:
    """Return what chooses the best checkpoint of a training, as its recipe has it."""
    if record.program or record.stage:
        return None
    from hpclaunch.run.regular_file import read_small_text

    try:
        # To read a recipe in full takes as long as all else: most of them choose none.
        if not _NAMES_ONE.search(read_small_text(folder.recipe, _MAX_RECIPE_BYTES)):
            return None
        from hpclaunch.recipe.load import load

        return load(str(folder.recipe)).checkpoints.best
    except (OSError, ValueError, UserError):
        return None
