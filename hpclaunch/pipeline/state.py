"""The state of a pipeline: of each stage, and why one did not run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hpclaunch.diagnose.listing import summaries
from hpclaunch.diagnose.state import State
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.pipeline.record import Pipeline, run_folder
from hpclaunch.run.find import Listed
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record

StageState = State | Literal["waits", "not run"]

ENDED_BADLY = frozenset({"failed", "cancelled", "timed out", "stopped", "not run"})
"""States of a stage after which those that wait for it do not run."""


@frozen
class StageStatus:
    """What is known of a stage."""

    name: str
    kind: str
    run: str
    folder: Path
    after: tuple[str, ...]
    state: StageState
    """`waits`: it has no run yet. `not run`: it never began, because one before it failed."""
    reason: str = ""
    job_id: str | None = None
    step: int | None = None
    total: int | None = None


def stage_states(folder: Path, pipeline: Pipeline) -> list[StageStatus]:
    """Return what is known of each stage, in the pipeline's order."""
    there = [stage for stage in pipeline.stages if run_folder(folder, stage).record.is_file()]
    listed = [_listed(run_folder(folder, stage)) for stage in there]
    found = dict(zip([stage.name for stage in there], summaries(listed), strict=True))
    states: dict[str, StageStatus] = {}
    for stage in pipeline.stages:
        run = found.get(stage.name)
        state: StageState = run.state if run else "waits"
        reason = run.reason if run else ""
        bad = [other for other in stage.after if states[other].state in ENDED_BADLY]
        # Here a run has a folder once it begins; on Slurm its script leaves a mark.
        here = pipeline.mode == "local"
        began = run is not None and (here or run_folder(folder, stage).job_file.exists())
        if bad and not began and state in {"waits", "cancelled", "written", "queued"}:
            state, reason = "not run", _why(bad, states)
        states[stage.name] = StageStatus(
            name=stage.name,
            kind=stage.kind,
            run=stage.run,
            folder=run_folder(folder, stage).root,
            after=tuple(stage.after),
            state=state,
            reason=reason,
            job_id=run.job_id if run else None,
            step=run.step if run else None,
            total=run.total if run else None,
        )
    return list(states.values())


def _why(bad: list[str], states: dict[str, StageStatus]) -> str:
    """Return which stages kept one from running, and how they ended."""
    return " and ".join(f"{name} {_ended(states[name].state)}" for name in bad)


def _ended(state: StageState) -> str:
    return {"not run": "did not run", "cancelled": "was cancelled", "stopped": "was stopped"}.get(
        state, state
    )


def _listed(folder: RunFolder) -> Listed:
    try:
        return Listed(folder, read_record(folder))
    except UserError as error:
        return Listed(folder, None, error.message)
