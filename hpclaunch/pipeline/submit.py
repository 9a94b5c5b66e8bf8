"""Submit a pipeline as dependent jobs, or go on with one: all of it, or nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import JobFailed, UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.check import CheckData, check
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.start import submit
from hpclaunch.pipeline.draft import DraftedPipeline, DraftedStage
from hpclaunch.pipeline.record import COPY, Pipeline, PipelineStage, run_folder
from hpclaunch.pipeline.state import StageStatus
from hpclaunch.plan.plan import make_plan
from hpclaunch.recipe.mixture import parts_of
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job, render_job
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.group import PIPELINE_FILE, new_group_folder, write_group
from hpclaunch.run.lock import alone
from hpclaunch.run.owner import require_own
from hpclaunch.run.record import Record, now, read_record
from hpclaunch.slurm import batch, commands
from hpclaunch.slurm.environment import refuse_secrets_in
from hpclaunch.stages.draft import check_stage

KILL = "--kill-on-invalid-dep=yes"
"""Without it a job whose dependency failed waits for ever."""


@frozen
class SubmittedStage:
    """A stage in the queue."""

    name: str
    run: str
    job_id: str
    changed: str = ""
    """What Slurm holds otherwise than the script requests; '' for nothing, or without an answer."""


def check_pipeline(drafted: DraftedPipeline, data: CheckData = check_data) -> None:
    """Refuse a pipeline of which one stage is sure to fail. Raises UserError that names it."""
    refuse_secrets_in(drafted.text, "the pipeline's file")  # of which a copy is kept
    for stage in drafted.stages:
        try:
            check(stage.job, without(data, stage.pending))
            if stage.wanted is not None:
                check_stage(stage.job, stage.wanted)
        except UserError as error:
            raise UserError(f"{stage.name}: {error.message}", error.fix) from None


def without(data: CheckData, pending: Sequence[str]) -> CheckData:
    """Return a look at data that leaves out what an earlier stage makes."""

    def look(recipe: Recipe) -> None:
        used = {recipe.data.validation, *(part.data.name for part in parts_of(recipe.data))}
        if used.isdisjoint(pending):
            data(recipe)

    return look


def after_jobs(job: Job, ids: Sequence[str]) -> Job:
    """Return a job that starts once these jobs have ended well, and is cancelled where one fails.

    A job that goes back into the queue keeps its id: what follows waits for its very end.
    """
    if not ids:
        return job
    plan = job.plan
    dependency = f"afterok:{':'.join(ids)}"
    arguments = (*(each for each in plan.resources.sbatch_arguments if each != KILL), KILL)
    resources = replace(plan.resources, dependency=dependency, sbatch_arguments=arguments)
    return render_job(make_plan(plan.recipe, plan.site, resources, plan.launch))


def write_pipeline(drafted: DraftedPipeline, command: Sequence[str]) -> Pipeline:
    """Write the folder over the stages. Raises UserError and leaves nothing otherwise."""
    modes = {stage.job.plan.launch.mode for stage in drafted.stages}
    pipeline = Pipeline(
        name=drafted.folder.name,
        created=now(),
        command=list(command),
        mode=modes.pop(),
        file=str(drafted.file),
        stages=[
            PipelineStage(
                name=stage.name,
                run=stage.job.plan.launch.name,
                kind=stage.kind,
                after=list(stage.after),
                pending=list(stage.pending),
            )
            for stage in drafted.stages
        ],
    )
    try:
        with new_group_folder(drafted.folder) as folder:
            write_atomic(folder / COPY, drafted.text)
            write_group(folder, PIPELINE_FILE, pipeline)
    except OSError as error:
        raise UserError(
            f"{drafted.folder} cannot be written: {error.strerror}", "free some space"
        ) from None
    return pipeline


def submit_pipeline(
    drafted: DraftedPipeline, command: Sequence[str], data: CheckData = check_data
) -> list[SubmittedStage]:
    """Check and submit every stage, each after those that it waits for.

    Where Slurm refuses one, those before it are cancelled and nothing stays. Raises UserError.
    """
    commands.require()
    check_pipeline(drafted, data)
    write_pipeline(drafted, command)
    done: list[tuple[SubmittedStage, RunFolder]] = []
    try:
        for stage in drafted.stages:
            ids = [each.job_id for each, _ in done if each.name in stage.after]
            made = submit(after_jobs(stage.job, ids), data=lambda _: None)
            number = str(made.record.job_id)
            submitted = SubmittedStage(stage.name, made.record.name, number, made.changed)
            done.append((submitted, made.folder))
    except KeyboardInterrupt:
        if done:
            raise _interrupted([each for each, _ in done]) from None
        shutil.rmtree(drafted.folder, ignore_errors=True)
        raise
    except JobFailed:
        raise  # Slurm may have the job: all folders stay
    except UserError as error:
        kept = _take_back(done, drafted.folder)
        if kept:
            raise JobFailed(
                f"{stage.name}: {error}; in the queue are still {' '.join(kept)}, which scancel "
                "did not take out"
            ) from None
        raise UserError(f"{stage.name}: {error.message}", error.fix) from None
    return [each for each, _ in done]


def _interrupted(done: Sequence[SubmittedStage]) -> JobFailed:
    """Return the error of a pipeline of which some stages are in the queue already."""
    jobs = ", ".join(f"{each.job_id} ({each.name})" for each in done)
    ids = " ".join(each.job_id for each in done)
    return JobFailed(f"interrupted; in the queue are {jobs}; cancel them: scancel {ids}", 130)


def _take_back(done: Sequence[tuple[SubmittedStage, RunFolder]], group: Path) -> list[str]:
    """Cancel the jobs of stages that were submitted, the last first, and remove their folders.

    Return the numbers of those that Slurm did not cancel: their folders stay.
    """
    kept = []
    for stage, folder in reversed(done):
        try:
            batch.cancel(stage.job_id)
        except UserError:
            kept.append(stage.job_id)
        else:
            shutil.rmtree(folder.root, ignore_errors=True)
    if not kept:
        shutil.rmtree(group, ignore_errors=True)
    return kept


def rest_of(
    folder: Path,
    pipeline: Pipeline,
    states: Sequence[StageStatus],
    drafted_anew: Callable[[str], DraftedStage],
    command: Sequence[str] = (),
) -> dict[str, tuple[Job, Record | None]]:
    """Return the jobs of the stages that are not done and do not wait or run, with their records.

    `drafted_anew`: drafts a stage that has no run yet. Raises UserError.
    """
    found: dict[str, tuple[Job, Record | None]] = {}
    for stage, status in zip(pipeline.stages, states, strict=True):
        if status.state in {"done", "running", "queued"}:
            continue
        run = run_folder(folder, stage)
        if not run.record.is_file():
            found[stage.name] = (drafted_anew(stage.name).job, None)
            continue
        require_own(run, "resume")
        record = read_record(run)
        where = Path(pipeline.file).parent
        job = redraft(
            run,
            record,
            command=command,
            pending=stage.pending,
            cwd=where if where.is_dir() else None,
        )
        found[stage.name] = (job, record)
    return found


def resume_pipeline(
    pipeline: Pipeline,
    states: Sequence[StageStatus],
    rest: Mapping[str, tuple[Job, Record | None]],
    data: CheckData = check_data,
) -> list[SubmittedStage]:
    """Submit the rest of a pipeline; what waits or runs stays as it is. Raises UserError."""
    ids = {each.name: each.job_id for each in states if each.state in {"running", "queued"}}
    for stage in pipeline.stages:
        if stage.name in rest:
            check(rest[stage.name][0], without(data, stage.pending))
    submitted: list[SubmittedStage] = []
    try:
        for stage in pipeline.stages:
            if stage.name not in rest:
                continue
            job, record = rest[stage.name]
            before = [str(ids[other]) for other in stage.after if other in ids]
            made = _submit(after_jobs(job, before), record)
            ids[stage.name] = made.job_id
            submitted.append(replace(made, name=stage.name))
    except KeyboardInterrupt:
        if submitted:
            raise _interrupted(submitted) from None
        raise
    return submitted


def _submit(job: Job, record: Record | None) -> SubmittedStage:
    folder = RunFolder(job.plan.launch.folder)
    with alone(folder) if record else contextlib.nullcontext():
        made = submit(job, record, data=lambda _: None)
    return SubmittedStage("", made.record.name, str(made.record.job_id), made.changed)
