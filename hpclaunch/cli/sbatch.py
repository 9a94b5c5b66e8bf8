"""`hpclaunch sbatch`: plan, write, check, submit."""

from __future__ import annotations

from typing import Annotated

import typer

from hpclaunch.cli import invocation
from hpclaunch.cli.options import (
    Json,
    NodeOptions,
    QueueOptions,
    RecipeOptions,
    RunOptions,
    ShardingOptions,
    Words,
    changes,
    resources,
    with_groups,
)
from hpclaunch.cli.text import answer_json, rows, say, say_findings


@with_groups
def sbatch(
    context: typer.Context,
    words: Words = None,
    *,
    recipe: RecipeOptions,
    nodes: NodeOptions,
    queue: QueueOptions,
    sharding: ShardingOptions,
    run: RunOptions,
    no_submit: Annotated[
        bool, typer.Option("--no-submit", help="Write the run folder only.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print the script.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow to the end; exit with the job's code.")
    ] = False,
    json: Json = False,
) -> None:
    """Submit a fine-tune as a batch job.

    What stands after -- is run in place of the built-in trainer:
    hpclaunch sbatch --nodes 4 --gpus 4 -- train.py my.yaml
    """
    from hpclaunch.cluster.draft import draft
    from hpclaunch.cluster.launch import submit, write
    from hpclaunch.cluster.request import Request

    typed = invocation.of(context)
    reference, overrides = invocation.recipe_and_overrides(words)
    job = draft(
        Request(
            mode="sbatch",
            recipe=reference,
            overrides=overrides,
            changes=changes(recipe, sharding),
            resources=resources(nodes, queue),
            site=queue.site,
            name=run.name,
            runs_dir=run.runs_dir,
            venv=run.venv,
            modules=tuple(queue.module or ()),
            program=typed.program,
            command=typed.command,
        )
    )
    say_findings(job.plan.findings)
    if dry_run:
        if json:
            files = {"script": job.script, "accelerate": job.accelerate, "recipe": job.recipe}
            answer_json({"name": job.plan.launch.name, "folder": job.plan.launch.folder, **files})
        else:
            print(job.script, end="")
        return
    if no_submit:
        folder = write(job)
        if json:
            answer_json({"name": job.plan.launch.name, "folder": folder.root, "job_id": None})
        else:
            print(rows([("folder", str(folder.root)), ("next", f"sbatch {folder.script}")]))
        return
    done = submit(job)
    if done.estimate:
        say(done.estimate)
    name = done.record.name
    if json:
        answer_json({"name": name, "folder": done.folder.root, "job_id": done.record.job_id})
    else:
        print(
            rows(
                [
                    ("job", str(done.record.job_id)),
                    ("run", name),
                    ("folder", str(done.folder.root)),
                    ("next", f"hpclaunch status {name}"),
                    ("next", f"hpclaunch logs -f {name}"),
                    ("next", f"hpclaunch cancel {name}"),
                    ("next", f"hpclaunch report {name}"),
                ]
            ),
            flush=True,
        )
    if wait:
        from hpclaunch.cli.following import wait_for

        raise typer.Exit(wait_for(done.folder, done.record))
