"""`hpclaunch sbatch`: plan, write, check, submit."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows, say, say_findings, say_if

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.launch.start import Submitted
    from hpclaunch.render.job import Job


@click.command()
@options.words
@options.grouped(
    nodes=options.NodeOptions,
    queue=options.SlurmOptions,
    recipe=options.RecipeOptions,
    sharding=options.ShardingOptions,
    run=options.RunOptions,
)
@click.option("--no-submit", is_flag=True, help="Write the run folder only.")
@options.dry_run
@options.force
@click.option("--wait", is_flag=True, help="Follow to the end; exit with the job's code.")
@options.as_json
@click.pass_obj
def sbatch(
    typed: Invocation,
    words: tuple[str, ...],
    nodes: options.NodeOptions,
    queue: options.SlurmOptions,
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    run: options.RunOptions,
    no_submit: bool,
    dry_run: bool,
    force: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Submit a fine-tune as a batch job.

    RECIPE is the name of a ready one (hpclaunch recipes ls) or a YAML file.

    What stands after -- runs in place of the built-in trainer: hpclaunch sbatch --nodes 4 --gpus 4
    -- train.py my.yaml
    """
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.cli.resources import request
    from hpclaunch.launch.draft import draft

    asked = request(
        "sbatch", typed, words,
        recipe=recipe, sharding=sharding, run=run, nodes=nodes, queue=queue,
    )  # fmt: skip
    with patience():
        job = draft(asked)
    note = prediction(job, force=force)
    # Said once it has come to pass: what is refused is refused in one line.
    if dry_run or no_submit:
        (_print_dry if dry_run else _write)(job, as_json)
        say_findings(job.plan.notes)
        say_if(note)
        return 0
    from hpclaunch.launch.start import submit

    with patience():
        done = submit(job)
    say_findings(job.plan.notes)
    say_if(note)
    print_submitted(done, as_json)
    if not wait:
        return 0
    from hpclaunch.cli.follow import wait_for

    return wait_for(done.folder, done.record)


def _print_dry(job: Job, as_json: bool) -> None:
    if not as_json:
        print(job.script, end="")
        return
    files = {"script": job.script, "accelerate": job.accelerate, "recipe": job.recipe}
    answer_json({"name": job.plan.launch.name, "folder": job.plan.launch.folder, **files})


def _write(job: Job, as_json: bool) -> None:
    from hpclaunch.errors import UserError
    from hpclaunch.launch.draft import check_model_access
    from hpclaunch.launch.start import write

    folder = write(job)
    try:
        check_model_access(job)
    except UserError as error:
        say(f"note: {error}")
    if as_json:
        answer_json({"name": job.plan.launch.name, "folder": folder.root, "job_id": None})
    else:
        print(rows([("folder", str(folder.root)), ("next", f"sbatch {quote(str(folder.script))}")]))


def print_submitted(done: Submitted, as_json: bool) -> None:
    """Answer with the job, its folder and what to type next."""
    name = done.record.name
    if done.estimate:
        say(done.estimate)
    if as_json:
        answer_json({"name": name, "folder": done.folder.root, "job_id": done.record.job_id})
        return
    lines = [("job", str(done.record.job_id)), ("run", name), ("folder", str(done.folder.root))]
    for command in ("status", "logs -f", "cancel", "report"):
        lines.append(("next", f"hpclaunch {command} {name}"))
    print(rows(lines), flush=True)
