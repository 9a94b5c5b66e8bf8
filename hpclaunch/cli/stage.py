"""What the commands of all stages share: to start one, and to print what it found out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpclaunch.cli.text import print_json, rows, say
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.cli.stage_options import StageOptions
    from hpclaunch.plan.resources import Mode
    from hpclaunch.render.job import Job
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record
    from hpclaunch.run.stage_settings import StageSettings
    from hpclaunch.stages.draft import StageRequest
    from hpclaunch.stages.source import KnownSource


SHOWN_EVALUATIONS = 5
"""Evaluations of a run whose scores are printed; --json and `eval --table` have all."""


def known_source(
    reference: str | None,
    checkpoint: str | None = None,
    revision: str | None = None,
    *,
    gguf: bool = False,
) -> KnownSource:
    """Return the source that is meant, and say where it is not a run's final weights.

    `gguf`: weights as GGUF will do.
    """
    from hpclaunch.stages.source import resolve

    known = resolve(reference, checkpoint=checkpoint, revision=revision, gguf=gguf)
    if known.source.checkpoint and checkpoint is None:
        say(f"note: run {known.source.name} has no final weights: taking {known.source.checkpoint}")
    return known


def start(
    typed: Invocation,
    settings: StageSettings,
    sources: tuple[KnownSource, ...],
    how: StageOptions,
    show: Callable[[RunFolder], None] | None = None,
) -> int:
    """Do a stage as `how` says; returns the exit code. Raises UserError.

    `show` prints what it found out; by default the rows of results.json.
    """
    from hpclaunch.stages.draft import check_stage, draft_stage, find_done

    wanted = _request(typed, settings, sources, how)
    done = None if how.place.force or how.place.dry_run else find_done(wanted)
    if done is not None:
        say(f"done before, in {done.root}; again: --force")
        _print_results(done, how.place.as_json, show)
        return 0
    job = draft_stage(wanted)
    if how.place.dry_run:
        return _print_dry(job, wanted, how.place.as_json)
    check_stage(job, wanted)
    if how.place.sbatch:
        return _submit(job, how)
    return _run(job, how.place.as_json, show)


def _request(
    typed: Invocation,
    settings: StageSettings,
    sources: tuple[KnownSource, ...],
    how: StageOptions,
) -> StageRequest:
    from hpclaunch.cli.resources import resources
    from hpclaunch.launch.request import Request
    from hpclaunch.stages.draft import StageRequest

    mode = _mode(how)
    request = Request(
        mode=mode,
        resources=resources(how.nodes, how.slurm),
        site=how.slurm.site,
        name=how.run.name,
        runs_dir=how.run.runs_dir,
        venv=how.run.venv,
        modules=how.slurm.module,
        command=typed.command,
    )
    return StageRequest(settings, sources, request, force=how.place.force)


def _mode(how: StageOptions) -> Mode:
    """Return where the stage runs. Raises UserError for options that have no effect there."""
    place = how.place
    if place.srun and place.sbatch:
        raise UserError("--srun and --sbatch exclude each other", "give one")
    if place.wait and not place.sbatch:
        raise UserError("--wait goes with --sbatch", "leave it out")
    if place.sbatch or place.srun:
        return "sbatch" if place.sbatch else "srun"
    groups: tuple[Any, ...] = (how.slurm, how.nodes)
    for group in groups:
        for each in dataclasses.fields(group):
            here = each.name in {"gpus", "cpu_processes", "port"}
            if not here and getattr(group, each.name) != each.default:
                flag = each.metadata["names"][0].partition("/")[0]
                raise UserError(f"{flag} is for a Slurm job", "add --sbatch or --srun")
    return "local"


def _print_dry(job: Job, wanted: StageRequest, as_json: bool) -> int:
    """Print the script, and on stderr what it will take; returns 2 where it cannot fit."""
    from hpclaunch.cli.stage_prediction import prediction_json, prediction_rows
    from hpclaunch.stages.draft import prediction_of
    from hpclaunch.stages.need import Prediction

    stage, made = job.plan.launch.stage, prediction_of(job, wanted)
    if as_json:
        launch = job.plan.launch
        print_json(
            {
                "name": launch.name,
                "folder": launch.folder,
                "script": job.script,
                "stage": stage.document if stage else "",
                "prediction": prediction_json(made),
            }
        )
    else:
        print(job.script, end="")
        print(rows(prediction_rows(made)), file=sys.stderr)
    return 2 if isinstance(made, Prediction) and made.fits is False else 0


def _submit(job: Job, how: StageOptions) -> int:
    from hpclaunch.cli.sbatch import print_submitted
    from hpclaunch.launch.start import submit

    submitted = submit(job)
    print_submitted(submitted, how.place.as_json)
    if not how.place.wait:
        return 0
    from hpclaunch.cli.follow import wait_for

    return wait_for(submitted.folder, submitted.record)


def _run(job: Job, as_json: bool, show: Callable[[RunFolder], None] | None) -> int:
    """Run the job to its end: its lines to stderr, what it found out to stdout."""
    from hpclaunch.cli.follow import print_end
    from hpclaunch.cli.progress_line import ProgressLine
    from hpclaunch.cli.text import print_notes
    from hpclaunch.diagnose.status import status
    from hpclaunch.launch.start import execute
    from hpclaunch.run.find import find

    print_notes(job.plan.notes)
    folders: list[RunFolder] = []

    def started(folder: RunFolder, record: Record) -> Callable[[Any], None]:
        folders.append(folder)
        say(f"run {record.name} in {folder.root}")
        return line.above(folder, lambda each: print(each.text, file=sys.stderr), starts=True)

    with ProgressLine() as line:
        code = execute(job, started)
    if not folders or not folders[0].root.is_dir():
        return code
    folder, record = find(str(folders[0].root))
    ended = print_end(status(folder, record))
    if not (code or ended):
        _print_results(folder, as_json, show)
    return code or ended


def _print_results(
    folder: RunFolder, as_json: bool, show: Callable[[RunFolder], None] | None
) -> None:
    if as_json:
        print_json(results_json(folder))
    elif show is not None:
        show(folder)
    else:
        print(rows([*result_rows(folder), ("folder", str(folder.root))]))


def results_json(folder: RunFolder) -> dict[str, Any]:
    """Return a stage's run and what it found out, for scripts."""
    import msgspec

    from hpclaunch.run.stage import read_results

    results = read_results(folder)
    found: dict[str, Any] = {"name": folder.root.name, "folder": str(folder.root)}
    if folder.final.is_dir():
        found["final"] = str(folder.final)
    return found | {"results": msgspec.to_builtins(results) if results else None}


def stage_rows(folder: RunFolder, record: Record) -> list[tuple[str, str]]:
    """Return which stage a run is, of what, and what it found out; of a training its scores."""
    if not record.stage:
        return evaluation_rows(folder)
    from hpclaunch.run.stage import read_stage

    try:
        found = read_stage(folder)
    except UserError as error:
        return [("stage", str(error))]
    sources = found.sources if found else ()
    names = ", ".join(f"{s.name} {s.checkpoint}" if s.checkpoint else s.name for s in sources)
    return [
        ("stage", f"{record.stage} of {names}" if names else record.stage),
        *result_rows(folder),
    ]


def evaluation_rows(folder: RunFolder) -> list[tuple[str, str]]:
    """Return the scores that evaluations of a run's weights found, the newest last."""
    from hpclaunch.run.evaluations import read_evaluations
    from hpclaunch.stages.eval import score_rows

    found = []
    for each in read_evaluations(folder)[-SHOWN_EVALUATIONS:]:
        where = each.checkpoint or "final"
        part = f", the first {each.limit:,} rows" if each.limit is not None else ""
        found += [(label, f"{text} ({where}{part})") for label, text in score_rows(each)]
    return found


def result_rows(folder: RunFolder) -> list[tuple[str, str]]:
    """Return what a stage found out, as label and text; nothing where it has not ended well."""
    from hpclaunch.run.stage import read_results
    from hpclaunch.stages.registry import stage_called
    from hpclaunch.units import duration, size

    results = read_results(folder)
    if results is None:
        return []
    try:
        found = stage_called(results.stage).rows(results.values)
    except UserError:  # of a newer version
        return []
    peaks = [
        f"{size(number)} {what}"
        for number, what in (
            (results.peak_host_bytes, "of host memory"),
            (results.peak_gpu_bytes, "of the GPU"),
        )
        if number is not None
    ]
    memory = f", at most {' and '.join(peaks)}" if peaks else ""
    return [*found, ("took", f"{duration(results.seconds)}{memory}")]
