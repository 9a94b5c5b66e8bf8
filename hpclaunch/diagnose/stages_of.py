"""The stages that took a run's weights, each in a line, and which folder of weights to take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hpclaunch.diagnose.listing import Summary, summaries
from hpclaunch.diagnose.state import Status
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.run.find import Listed, every
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import read_results, read_stage

_STEP = re.compile(r"step-[0-9]{1,12}")
BEST = "best"
"""The stage that writes the weights of the checkpoint with the best score."""


@frozen
class StageOf:
    """A stage of a run, or of what another stage made of that run."""

    name: str
    stage: str
    state: str
    folder: Path
    final: Path | None
    """The weights that it wrote; None where it has none."""
    source: str
    """Name of the run whose weights it took."""
    created: float
    """Unix seconds."""
    checkpoint: str | None = None
    """Of the stage `best`: the checkpoint that it took."""


@frozen
class Weights:
    """The weights of a training that a user should take."""

    folder: Path | None
    """None where there are none yet."""
    what: str
    """What they are, or why better ones are missing; '' where there is one folder alone."""


def stages_of(folder: RunFolder) -> list[StageOf]:
    """Return the stages that took a run's weights, directly or through another stage, the oldest
    first.

    Those beside it and in this user's list of runs, of the run's owner alone. Asks Slurm once,
    where there are any.
    """
    owner = _owner(folder.root)
    takes: dict[str, list[tuple[Listed, str]]] = {}
    for run in every(folder.root.parent):
        if run.record is not None and run.record.stage and _owner(run.folder.root) == owner:
            for source in _sources(run.folder):
                takes.setdefault(source, []).append((run, Path(source).name))
    found: dict[str, tuple[Listed, str]] = {}
    reached = [os.path.realpath(folder.root)]
    while reached:
        for run, source in takes.pop(reached.pop(), []):
            root = os.path.realpath(run.folder.root)
            if root not in found:
                found[root] = (run, source)
                reached.append(root)
    lines = summaries(run for run, _ in found.values()) if found else ()
    named = zip(lines, found.values(), strict=True)
    stages = [_stage_of(line, source) for line, (_, source) in named]
    return sorted(stages, key=lambda each: each.created)


def weights_to_take(run: Status, stages: Sequence[StageOf], best: str | None) -> Weights:
    """Return which weights of a training to take.

    `best`: the recipe's `checkpoints.best`. Where the stage `best` has written some, these; else
    the training's own, and what is missing.
    """
    done = run.progress
    if best is None:
        return Weights(run.final, "")
    if done.final_step is not None:
        return Weights(run.final, f"step {done.final_step}, the lowest eval loss")
    taken = next((each for each in reversed(stages) if _is_best(each, run)), None)
    if taken is None:
        failed = f": {done.best_problem}" if done.best_problem else ""
        missing = f"the best by {best} is not taken{failed}"
    elif taken.final is not None and taken.state == "done" and not run.active:
        return Weights(taken.final, f"{taken.checkpoint or 'the best'}, the best by {best}")
    else:
        missing = f"the best by {best} is taken by run {taken.name} ({taken.state})"
    return Weights(run.final, f"those of the last step; {missing}" if run.final else missing)


def _is_best(each: StageOf, run: Status) -> bool:
    return each.stage == BEST and each.source == run.folder.name


def _sources(folder: RunFolder) -> Iterator[str]:
    """Return the folders of the runs that a stage takes; none where that cannot be read."""
    try:
        found = read_stage(folder)
    except UserError:
        return
    for source in found.sources if found else ():
        if source.run is not None:
            with suppress(OSError, ValueError):  # a path that cannot be one
                yield os.path.realpath(source.run)


def _stage_of(line: Summary, source: str) -> StageOf:
    folder = RunFolder(line.folder)
    checkpoint = None
    if line.stage == BEST:
        results = read_results(folder)
        named = results.values.get("checkpoint") if results else None
        checkpoint = named if isinstance(named, str) and _STEP.fullmatch(named) else None
    return StageOf(
        name=line.name,
        stage=line.stage,
        state=line.state,
        folder=line.folder,
        final=folder.final if folder.final.is_dir() else None,
        source=source,
        created=line.created or 0.0,
        checkpoint=checkpoint,
    )


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None
