"""`hpclaunch sbatch`: plan, write, check, submit."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import print_json, print_notes, rows, say, say_if, waiting_message
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.launch.request import Request
    from hpclaunch.launch.start import Submitted
    from hpclaunch.render.job import Job


@click.command(
    cls=Command,
    takes_program=True,
    examples=[
        (
            "LoRA of Llama 3 70B on 16 GPUs",
            "hpclaunch sbatch llama3-70b-lora --nodes 4 --gpus 4 --gpu a100_40",
        ),
        (
            "Your own data, for 500 steps",
            "hpclaunch sbatch llama3-8b-lora --dataset my.jsonl training.max_steps=500",
        ),
        (
            "A program of your own in place of the trainer",
            "hpclaunch sbatch --nodes 4 --gpus 4 -- train.py my.yaml",
        ),
    ],
)
@options.job
@click.option("--no-submit", is_flag=True, help="Write the run folder, and do not submit.")
@options.dry_run
@options.force
@click.option("--wait", is_flag=True, help="Follow the job to its end; exit with its exit code.")
@click.option(
    "--then",
    multiple=True,
    metavar="STAGE",
    help="A stage of hpclaunch to follow the run: merge, 'eval tasks=a,b'; repeatable.",
)
@click.option(
    "--prepare-job",
    is_flag=False,
    flag_value="",
    metavar="[OPTIONS]",
    help="First submit a CPU job that fetches, tokenizes and packs; this one waits for it. With "
    'options of sbatch for it: --prepare-job="--partition=cpu".',
)
@options.as_json
@click.pass_obj
def sbatch(
    typed: Invocation,
    job: options.JobOptions,
    no_submit: bool,
    dry_run: bool,
    force: bool,
    wait: bool,
    then: tuple[str, ...],
    prepare_job: str | None,
    as_json: bool,
) -> int:
    """Submit a fine-tune as a batch job.

    RECIPE is the name of a ready recipe (hpclaunch recipes ls) or a YAML file; KEY=VALUE changes
    one of its values. Without a recipe it is llama3-70b-lora, where the GPUs hold it. The command
    plans the run, writes its folder and submits the job script. A program after -- runs in place of
    the built-in trainer.
    """
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft

    requested = request("sbatch", typed, job)
    if prepare_job is not None and (then or no_submit or requested.program):
        raise UserError(
            "--prepare-job is for one submission of the built-in trainer: not with --then, "
            "--no-submit or a program",
            "leave it out",
        )
    if then:
        return _with_stages(
            requested,
            then,
            no_submit=no_submit or wait,
            dry_run=dry_run,
            force=force,
            as_json=as_json,
        )
    with waiting_message():
        drafted = draft(requested)
    note = prediction(drafted, force=force)
    # Notes come after the work: a refused request prints one line and nothing else.
    if dry_run or no_submit:
        (_print_dry if dry_run else _write)(drafted, as_json)
        print_notes(drafted.plan.notes)
        say_if(note)
        say_if("the job of --prepare-job is not shown" if prepare_job is not None else None)
        return 0
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.launch.start import submit

    with waiting_message() as waiting:
        data = DataLines(waiting)
        if prepare_job is None:
            submitted = submit(drafted, data=data)
        else:
            submitted = _submit_behind(requested, drafted, prepare_job, data)
    print_notes(drafted.plan.notes)
    data.print()
    say_if(note)
    print_submitted(submitted, as_json)
    if not wait:
        return 0
    from hpclaunch.cli.follow import wait_for

    return wait_for(submitted.folder, submitted.record)


def _with_stages(
    requested: Request,
    then: tuple[str, ...],
    *,
    no_submit: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Submit a run and the stages that follow it; returns the exit code. Raises UserError."""
    from hpclaunch.cli.pipeline_start import start
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.pipeline.then import draft_then

    if no_submit:
        raise UserError(
            "--then submits several jobs: --no-submit and --wait are for one", "leave them out"
        )
    with waiting_message():
        drafted = draft_then(requested, then)
    say_if(prediction(drafted.stages[0].job, force=force))
    return start(drafted, requested.command, dry_run=dry_run, force=force, as_json=as_json)


def _submit_behind(
    requested: Request, drafted: Job, prepare_options: str, data: DataLines
) -> Submitted:
    from hpclaunch.launch.prepare_job import submit_behind

    return submit_behind(
        requested,
        drafted,
        prepare_options,
        data=data,
        on_submitted=lambda number: say(f"job {number} prepares; the fine-tune waits for it"),
    )


def _print_dry(job: Job, as_json: bool) -> None:
    if not as_json:
        print(job.script, end="")
        return
    files = {"script": job.script, "accelerate": job.accelerate, "recipe": job.recipe}
    print_json({"name": job.plan.launch.name, "folder": job.plan.launch.folder, **files})


def _write(job: Job, as_json: bool) -> None:
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.launch.check import check_model_access
    from hpclaunch.launch.start import write

    data = DataLines()
    folder = write(job, data)
    data.print()
    try:
        check_model_access(job)
    except UserError as error:
        say(f"note: {error}")
    if as_json:
        print_json({"name": folder.root.name, "folder": folder.root, "job_id": None})
    else:
        print(rows([("folder", str(folder.root)), ("next", f"sbatch {quote(str(folder.script))}")]))


def print_submitted(submitted: Submitted, as_json: bool) -> None:
    """Print the job, its folder and what to type next."""
    from hpclaunch.cli.withheld import say_withheld
    from hpclaunch.run.find import index_problem

    record, folder = submitted.record, submitted.folder.root
    say_if(index_problem(submitted.folder))
    if submitted.estimate:
        say(submitted.estimate)
    if submitted.changed:
        say(submitted.changed)
    say_withheld()
    if as_json:
        print_json({"name": record.name, "folder": folder, "job_id": record.job_id})
        return
    lines = [("job", str(record.job_id)), ("run", record.name), ("folder", str(folder))]
    for command in ("status", "logs -f", "cancel", "report"):
        lines.append(("next", f"hpclaunch {command} {record.name}"))
    print(rows(lines), flush=True)
