"""`hpclaunch pipeline`: stages that follow one another, as dependent jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import waiting_message

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    examples=[
        ("What would be submitted", "hpclaunch pipeline chain.yaml --dry-run"),
        ("Submit it", "hpclaunch pipeline chain.yaml"),
        ("On this machine, one after another", "hpclaunch pipeline chain.yaml --local"),
    ],
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="The pipeline's name; by default that of the file, with a number.")
@click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    help="Where its folder and the run folders go; by default $HPCLAUNCH_RUNS_DIR, or ./runs.",
)
@click.option("--local", is_flag=True, help="On this machine, one stage after another.")
@click.option("--dry-run", is_flag=True, help="Write nothing; print the stages and their options.")
@options.force
@options.as_json
@click.pass_obj
def pipeline(
    typed: Invocation,
    file: Path,
    name: str | None,
    runs_dir: Path | None,
    local: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Run the stages of a file, each after those it needs.

    A stage is a recipe, a stage of hpclaunch (as merge) or a program, with its resources.
    All are checked before anything is submitted. On Slurm each is a job that starts when those
    before it have ended well, and is cancelled where one fails; without Slurm they run here one
    after another. status, cancel and resume take its name.
    """
    from hpclaunch.cli.pipeline_start import mode, start
    from hpclaunch.pipeline.draft import Where, draft_pipeline
    from hpclaunch.pipeline.schema import read_pipeline

    spec, document, text = read_pipeline(file)
    where = Where(mode(local=local, dry_run=dry_run), name, runs_dir, typed.command)
    with waiting_message():
        drafted = draft_pipeline(spec, document, text, file, where)
    return start(drafted, typed.command, dry_run=dry_run, force=force, as_json=as_json)
