"""Start a pipeline, and go on with one: as dependent jobs, or here one stage after another."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Literal

from hpclaunch.cli.text import print_json, print_notes, rows, say, say_if, table, waiting_message

if TYPE_CHECKING:
    from pathlib import Path

    from hpclaunch.pipeline.draft import DraftedPipeline, DraftedStage
    from hpclaunch.pipeline.record import Pipeline
    from hpclaunch.pipeline.submit import SubmittedStage
    from hpclaunch.render.job import Job
    from hpclaunch.run.record import Record


def mode(*, local: bool, dry_run: bool) -> Literal["local", "sbatch"]:
    """Return where stages run: on Slurm where there is one, unless `local`.

    A dry run shows anywhere what would be submitted.
    """
    from hpclaunch.slurm import commands

    if local or dry_run or commands.available():
        return "local" if local else "sbatch"
    say("there is no Slurm here: the stages follow one another on this machine")
    return "local"


def start(
    drafted: DraftedPipeline, command: Sequence[str], *, dry_run: bool, force: bool, as_json: bool
) -> int:
    """Check and start a pipeline; returns the exit code.

    Raises UserError, also for a stage that cannot fit: a training may all the same by `force`.
    """
    if dry_run:
        _print_dry(drafted, as_json)
    _refuse_too_large(drafted, force=force)
    if dry_run:
        return 0
    print_notes(dict.fromkeys(note for each in drafted.stages for note in each.job.plan.notes))
    if drafted.stages[0].job.plan.launch.mode == "local":
        return _run_here(drafted, command)
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.cli.withheld import say_withheld
    from hpclaunch.pipeline.submit import submit_pipeline

    with waiting_message() as waiting:
        data = DataLines(waiting)
        submitted = submit_pipeline(drafted, command, data)
    data.print()
    say_withheld()
    _print_submitted(drafted.folder, submitted, as_json)
    return 0


def _print_dry(drafted: DraftedPipeline, as_json: bool) -> None:
    if as_json:
        stages = [
            {
                "name": each.name,
                "run": each.job.plan.launch.name,
                "after": each.after,
                "script": each.job.script,
                "recipe": each.job.recipe if each.kind == "recipe" else None,
                "prediction": _predicted(each),
            }
            for each in drafted.stages
        ]
        print_json({"name": drafted.name, "folder": drafted.folder, "stages": stages})
        return
    lines = [("stage", "kind", "after", "requested")]
    for each in drafted.stages:
        plan = each.job.plan
        options = " ".join(str(option) for option in plan.options if option.flag != "--job-name")
        lines.append((each.name, _kind(each), ", ".join(each.after), options or _here(each)))
    print(table(lines))
    plans = [(each.name, line) for each in drafted.stages for line in _predicted(each)]
    print(rows([*plans, ("folder", str(drafted.folder))]))


def _refuse_too_large(drafted: DraftedPipeline, *, force: bool) -> None:
    """Raise UserError for the first stage that cannot fit; `force`: trainings may all the same."""
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.errors import UserError
    from hpclaunch.stages.draft import prediction_of
    from hpclaunch.stages.need import refuse_too_large

    for each in drafted.stages:
        try:
            if each.kind == "recipe":
                prediction(each.job, force=force)
            elif each.wanted is not None:
                refuse_too_large(prediction_of(each.job, each.wanted))
        except UserError as error:
            raise UserError(f"stage {each.name}: {error.message}", error.fix) from None


def _predicted(stage: DraftedStage) -> list[str]:
    """Return what a stage will take of memory and time, a line each; none where nobody asks."""
    if stage.kind == "recipe":
        from hpclaunch.cli.prediction import prediction

        return (prediction(stage.job, force=True) or "").splitlines()
    if stage.wanted is None:
        return []
    from hpclaunch.cli.stage_prediction import prediction_rows
    from hpclaunch.stages.draft import prediction_of

    found = prediction_rows(prediction_of(stage.job, stage.wanted))
    return [f"{row[0]}: {row[1]}" for row in found[:1]]


def _kind(stage: DraftedStage) -> str:
    return stage.job.plan.recipe.name if stage.kind == "recipe" else stage.kind


def _here(stage: DraftedStage) -> str:
    plan = stage.job.plan
    return f"{plan.processes} {'GPUs' if plan.device == 'gpu' else 'CPU processes'} here"


def _print_submitted(folder: Path, submitted: Sequence[SubmittedStage], as_json: bool) -> None:
    name = folder.name
    for each in submitted:
        say_if(f"{each.name}: {each.changed}" if each.changed else None)
    if as_json:
        stages = [{"name": e.name, "run": e.run, "job_id": e.job_id} for e in submitted]
        print_json({"name": name, "folder": folder, "stages": stages})
        return
    lines = [("pipeline", name), ("folder", str(folder))]
    lines += [("job", f"{each.job_id}  {each.name}  (run {each.run})") for each in submitted]
    lines += [("next", f"hpclaunch {words} {quote(name)}") for words in ("status", "cancel")]
    print(rows(lines), flush=True)


def _run_here(drafted: DraftedPipeline, command: Sequence[str]) -> int:
    from hpclaunch.pipeline.submit import check_pipeline, write_pipeline
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.lock import alone

    check_pipeline(drafted)
    pipeline = write_pipeline(drafted, command)
    with alone(RunFolder(drafted.folder)):
        return _one_after_another(
            drafted.folder, pipeline, {each.name: (each.job, None) for each in drafted.stages}
        )


def _one_after_another(
    folder: Path, pipeline: Pipeline, jobs: dict[str, tuple[Job, Record | None]]
) -> int:
    """Run stages here; those that wait for one that did not end well do not run."""
    from hpclaunch.cli.attach import run_to_its_end
    from hpclaunch.cli.pipeline_status import print_chain
    from hpclaunch.launch.attached import STOPPED
    from hpclaunch.pipeline.state import stage_states

    for number, stage in enumerate(pipeline.stages, 1):
        if stage.name not in jobs:
            continue
        states = {each.name: each for each in stage_states(folder, pipeline)}
        if bad := [other for other in stage.after if states[other].state != "done"]:
            say(f"stage {stage.name} does not run: {' and '.join(bad)} did not end well")
            continue
        say(f"stage {number} of {len(pipeline.stages)}: {stage.name}")
        if run_to_its_end(*jobs[stage.name]) == STOPPED:
            say(f"go on with it: hpclaunch resume {quote(folder.name)}")
            return STOPPED
    return print_chain(folder, pipeline, as_json=False)


def resume_group(
    reference: str | None, command: Sequence[str], as_json: bool, *, changed: bool
) -> int | None:
    """Go on with a pipeline; returns the exit code, None where the reference is none.

    `changed`: other options were given. Raises UserError for these, and where there is nothing to
    go on with.
    """
    from hpclaunch.run.group import PIPELINE_FILE, group_folder

    if reference is None or group_folder(reference, PIPELINE_FILE) is None:
        return None
    from hpclaunch.errors import UserError
    from hpclaunch.pipeline.record import find_pipeline, run_folder
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.group import require_own_group
    from hpclaunch.run.lock import alone

    folder, pipeline = find_pipeline(reference)
    runs = [run_folder(folder, stage) for stage in pipeline.stages]
    require_own_group(folder, PIPELINE_FILE, "resume", runs)
    if changed:
        raise UserError(
            f"{folder.name} is a pipeline: options and changes are for one of its runs",
            f"change that one first: hpclaunch resume {quote(folder.name)}.STAGE ..., then the "
            "pipeline",
        )
    with alone(RunFolder(folder)):
        return _resume(folder, pipeline, command, as_json)


def _resume(folder: Path, pipeline: Pipeline, command: Sequence[str], as_json: bool) -> int:
    """Go on with a pipeline whose folder is held. Raises UserError."""
    from hpclaunch.errors import UserError
    from hpclaunch.pipeline.again import draft_stage_anew
    from hpclaunch.pipeline.state import stage_states
    from hpclaunch.pipeline.submit import rest_of, resume_pipeline

    with waiting_message():
        states = stage_states(folder, pipeline)
        for each in states:
            if each.state == "unknown":
                raise UserError(
                    f"it is unknown whether stage {each.name} is running: {each.reason}",
                    "try again later",
                )
        rest = rest_of(
            folder,
            pipeline,
            states,
            lambda name: draft_stage_anew(folder, pipeline, name, command),
            command,
        )
        if not rest:
            raise UserError(
                f"no stage of {folder.name} failed or ended early",
                f"hpclaunch status {quote(folder.name)}",
            )
    if pipeline.mode == "local":
        return _one_after_another(folder, pipeline, rest)
    with waiting_message():
        submitted = resume_pipeline(pipeline, states, rest)
    _print_submitted(folder, submitted, as_json)
    return 0
