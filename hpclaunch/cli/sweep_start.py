"""Start a sweep: as a job array, or on this machine one run after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from hpclaunch.cli.text import print_json, print_notes, rows, say, say_if, waiting_message

if TYPE_CHECKING:
    from pathlib import Path

    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.cli.options import JobOptions
    from hpclaunch.render.job import Job
    from hpclaunch.run.record import Record
    from hpclaunch.sweep.draft import SweepDraft
    from hpclaunch.sweep.record import Sweep
    from hpclaunch.sweep.submit import SubmittedArray


def start(
    typed: Invocation,
    job: JobOptions,
    *,
    parallel: int | None,
    local: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Draft, check and start a sweep; returns the exit code. Raises UserError."""
    from hpclaunch.cli.resources import request
    from hpclaunch.slurm import commands
    from hpclaunch.sweep.draft import draft_sweep

    here = local or not (dry_run or commands.available())
    if here and not local:
        say("there is no Slurm here: the runs follow one another on this machine")
    with waiting_message():
        drafted = draft_sweep(request("local" if here else "sbatch", typed, job), parallel)
    lines = _predictions(drafted, force=force)
    if dry_run:
        _print_dry(drafted, as_json)
        return 0
    print_notes(dict.fromkeys(note for each in drafted.jobs for note in each.plan.notes))
    if here:
        return _run_here(drafted, typed.command)
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.cli.withheld import say_withheld
    from hpclaunch.sweep.submit import submit_sweep

    with waiting_message() as waiting:
        data = DataLines(waiting)
        submitted = submit_sweep(drafted, typed.command, data)
    data.print()
    for line in lines:
        say(line)
    say_withheld()
    names = [each.plan.launch.name for each in drafted.jobs]
    _print_submitted(drafted.name, str(drafted.folder), submitted, names, as_json)
    return 0


def _predictions(drafted: SweepDraft, *, force: bool) -> list[str]:
    """Return the lines of the plans, each once. Raises UserError where a run does not fit."""
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.errors import UserError
    from hpclaunch.sweep.draft import same_step

    lines: dict[str, None] = {}
    seen: list[Mapping[str, Any]] = []
    for job in drafted.jobs:
        if (key := same_step(job.plan.recipe)) in seen:
            continue
        seen.append(key)
        try:
            text = prediction(job, force=force)
        except UserError as error:
            raise UserError(f"{job.plan.launch.name}: {error.message}", error.fix) from None
        lines |= dict.fromkeys((text or "").splitlines())
    return list(lines)


def _print_dry(drafted: SweepDraft, as_json: bool) -> None:
    if as_json:
        runs = {job.plan.launch.name: job.recipe for job in drafted.jobs}
        print_json({"name": drafted.name, "script": drafted.script, "runs": runs})
        return
    if drafted.script:
        print(drafted.script)
    for task, job in enumerate(drafted.jobs):
        print(f"{task}  {job.plan.launch.name}")


def _print_submitted(
    name: str, folder: str, array: SubmittedArray, names: Sequence[str], as_json: bool
) -> None:
    say_if(array.estimate)
    say_if(array.changed)
    if as_json:
        print_json({"name": name, "folder": folder, "job_id": array.job_id, "runs": list(names)})
        return
    lines = [("job array", array.job_id), ("sweep", name), ("folder", folder)]
    lines += [("run", each) for each in names]
    lines += [("next", f"hpclaunch {words} {quote(name)}") for words in ("sweep --table", "cancel")]
    print(rows(lines), flush=True)


def _run_here(drafted: SweepDraft, command: Sequence[str]) -> int:
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.lock import alone
    from hpclaunch.run.record import read_record
    from hpclaunch.sweep.draft import check_sweep
    from hpclaunch.sweep.submit import write_sweep

    check_sweep(drafted)
    written = write_sweep(drafted, command)
    records = [read_record(folder) for folder, _ in written]
    with alone(RunFolder(drafted.folder)):
        return _one_after_another(drafted.name, list(zip(drafted.jobs, records, strict=True)))


def _one_after_another(name: str, runs: Sequence[tuple[Job, Record]]) -> int:
    """Run jobs here; one that fails does not keep the next from starting."""
    from hpclaunch.cli.attach import run_to_its_end
    from hpclaunch.cli.sweep_table import print_table
    from hpclaunch.launch.attached import STOPPED

    codes = []
    for number, (job, record) in enumerate(runs, 1):
        say(f"run {number} of {len(runs)}: {record.name}")
        codes.append(run_to_its_end(job, record))
        if codes[-1] == STOPPED:
            say(f"go on with the others: hpclaunch sweep --resubmit {quote(name)}")
            return STOPPED
    print_table(name, as_json=False)
    return 1 if any(codes) else 0


def resubmit(typed: Invocation, reference: str, job: JobOptions, as_json: bool) -> int:
    """Submit the runs of a sweep again that ended early; returns the exit code.

    Raises UserError where there is none.
    """
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.group import SWEEP_FILE, require_own_group
    from hpclaunch.run.lock import alone
    from hpclaunch.sweep.record import find_sweep, run_folders

    folder, sweep = find_sweep(reference)
    require_own_group(folder, SWEEP_FILE, "resubmit", run_folders(folder, sweep))
    with alone(RunFolder(folder)):
        return _resubmit(typed, folder, sweep, job, as_json)


def _resubmit(typed: Invocation, folder: Path, sweep: Sweep, job: JobOptions, as_json: bool) -> int:
    """Submit runs of a sweep again whose folder is held. Raises UserError."""
    from hpclaunch.cli.resources import resources
    from hpclaunch.errors import UserError
    from hpclaunch.sweep.submit import ended_early, redraft_runs
    from hpclaunch.sweep.submit import resubmit as submit_again
    from hpclaunch.sweep.table import rows as sweep_rows

    requested = asdict(resources(job.nodes, job.slurm))
    changes = {name: value for name, value in requested.items() if value not in (None, False, ())}
    with waiting_message():
        tasks = ended_early(sweep_rows(folder, sweep))
        if not tasks:
            raise UserError(
                f"no run of {folder.name} failed or ended early",
                f"hpclaunch sweep --table {quote(folder.name)}",
            )
        drafted = redraft_runs(
            folder,
            sweep,
            tasks,
            changes,
            command=typed.command,
            site=job.slurm.site,
            venv=job.run.venv,
            modules=job.slurm.module,
        )
    names = [record.name for _, record in drafted.values()]
    if next(iter(drafted.values()))[1].mode == "local":
        return _one_after_another(folder.name, list(drafted.values()))
    with waiting_message():
        array = submit_again(folder, sweep, drafted)
    _print_submitted(folder.name, str(folder), array, names, as_json)
    return 0
