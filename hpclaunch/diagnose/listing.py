"""Many runs at once, in a line each: Slurm is asked about all of them together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from hpclaunch.diagnose.state import State, run_state
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.run.events import attempt_spans, read_last_events
from hpclaunch.run.find import Listed
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.stage import read_stage
from hpclaunch.slurm.jobs import JobState, job_states, own_jobs


@frozen
class Summary:
    """A run in a line."""

    name: str
    folder: Path
    state: State
    reason: str
    """Why it waits, what the state was taken from, or why the folder cannot be read."""
    job_id: str | None = None
    recipe: str | None = None
    """None for a program of the user's own, and where it is not known."""
    stage: str = ""
    """`merge`, `quantize` ...; '' for a training or a program of the user's own."""
    of: str = ""
    """Of a stage: the run, with its checkpoint, or the model that it takes; '' if not known."""
    step: int | None = None
    total: int | None = None
    created: float | None = None
    """Unix seconds."""
    gpu_hours: float | None = None
    """GPUs held times hours, over all attempts; None where it is not known. 0 on CPUs."""


def summaries(runs: Iterable[Listed]) -> Iterator[Summary]:
    """Return each run's line, in the order given. One that cannot be read says why."""
    listed = list(runs)
    jobs, scripts = _jobs_of([run for run in listed if run.record is not None])
    for run in listed:
        if run.record is None:
            yield Summary(run.folder.root.name, run.folder.root, "unknown", run.problem)
            continue
        try:
            yield _summary(run.folder, run.record, jobs, scripts)
        except (OSError, ValueError, ArithmeticError) as error:
            problem = f"{run.folder.root} cannot be read: {error}"
            yield Summary(run.record.name, run.folder.root, "unknown", problem)


def _jobs_of(runs: Sequence[Listed]) -> tuple[dict[str, JobState], dict[str, str]]:
    """Return the jobs that count, and which job of the queue was submitted with which script.

    A run with an exit code has ended, unless the queue has its script again.
    """
    records = [run.record for run in runs if run.record is not None]
    if not any(record.job_id or record.mode == "sbatch" for record in records):
        return {}, {}
    queue = own_jobs()
    jobs = {job: state for job, (state, _) in queue.items()}
    scripts = {os.path.realpath(script): job for job, (_, script) in queue.items() if script}
    unknown = [
        run.record.job_id
        for run in runs
        if run.record is not None
        and run.record.job_id
        and run.record.job_id not in jobs
        and not run.folder.exit_code_file.exists()
    ]
    return jobs | job_states(unknown), scripts


def _summary(
    folder: RunFolder, record: Record, jobs: dict[str, JobState], scripts: dict[str, str]
) -> Summary:
    by_hand = scripts.get(os.path.realpath(folder.script)) if record.mode == "sbatch" else None
    if by_hand:
        record = structs.replace(record, job_id=by_hand)
    job = jobs.get(record.job_id) if record.job_id else None
    found = run_state(folder, record, read_last_events(folder.events), (record, job))
    return Summary(
        name=record.name,
        folder=folder.root,
        state=found.state,
        reason=found.reason,
        job_id=record.job_id,
        recipe=None if record.program else record.recipe,
        stage=record.stage,
        of=_source(folder) if record.stage else "",
        step=found.progress.step,
        total=found.progress.total,
        created=record.created,
        gpu_hours=_gpu_hours(folder, record, found.state),
    )


def _source(folder: RunFolder) -> str:
    """Return what a stage takes, first of all."""
    try:
        found = read_stage(folder)
    except UserError:
        return ""
    first = found.sources[0] if found and found.sources else None
    return "" if first is None else " ".join(filter(None, (first.name, first.checkpoint)))


def _gpu_hours(folder: RunFolder, record: Record, state: State) -> float | None:
    """Return GPUs times the hours of every attempt; None where nothing says how long they were."""
    if record.device != "gpu" or (state in {"written", "queued"} and not folder.nodes.exists()):
        return 0.0
    spans = attempt_spans(folder.events)
    if not spans:  # a program of the user's own, or one that is not at work yet
        began = _modified(folder.nodes)
        spans = [] if began is None else [(began, began)]
    if not spans:
        return None
    first, last = spans[-1]
    end = time.time() if state == "running" else _modified(folder.exit_code_file)
    if end is None and record.program:
        return None
    spans[-1] = (first, max(last, end or last))
    seconds = sum(last - first for first, last in spans)
    return seconds / 3600 * (record.nodes + record.server_nodes) * record.processes_per_node


def _modified(path: Path) -> float | None:
    with suppress(OSError):
        return path.stat().st_mtime
    return None
