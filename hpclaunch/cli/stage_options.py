"""Options that the commands of all stages share."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import field
from pathlib import Path
from typing import Any

import click

from hpclaunch.cli import complete
from hpclaunch.cli.options import Command, NodeOptions, SlurmOptions, _option, grouped
from hpclaunch.frozen import frozen


@frozen
class PlaceOptions:
    """Where the stage runs."""

    TITLE = "Where it runs"
    srun: bool = _option(
        "--srun", is_flag=True, default=False, help="In an allocation, attached; by default here."
    )
    sbatch: bool = _option("--sbatch", is_flag=True, default=False, help="As a batch job.")
    wait: bool = _option(
        "--wait", is_flag=True, default=False, help="With --sbatch: follow the job to its end."
    )
    dry_run: bool = _option(
        "--dry-run", is_flag=True, default=False, help="Write nothing; print the script."
    )
    force: bool = _option(
        "--force", is_flag=True, default=False, help="Do it again although it is done."
    )
    as_json: bool = _option("--json", is_flag=True, default=False, help="Write the result as JSON.")


@frozen
class StageRunOptions:
    """The stage's own run."""

    TITLE = "Run"
    name: str | None = _option("--name", help="The stage's run; by default RUN-STAGE.")
    runs_dir: Path | None = _option(
        "--runs-dir",
        type=click.Path(path_type=Path),
        help="Where its run folder goes; by default beside RUN's.",
    )
    venv: Path | None = _option(
        "--venv",
        type=click.Path(path_type=Path),
        help="Python environment of the job; by default the one hpclaunch runs from.",
    )


@frozen
class StageOptions:
    """All that says how a stage runs."""

    place: PlaceOptions = field(default_factory=PlaceOptions)
    nodes: NodeOptions = field(default_factory=NodeOptions)
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    run: StageRunOptions = field(default_factory=StageRunOptions)


def stage_options(command: Command) -> Command:
    """Return a command that takes the options of a stage; they reach it as one value `how`."""

    @functools.wraps(command)
    def gather(*values: Any, **others: Any) -> int | None:
        names = [each.name for each in dataclasses.fields(StageOptions)]
        return command(*values, how=StageOptions(**{n: others.pop(n) for n in names}), **others)

    groups = {
        "place": PlaceOptions,
        "nodes": NodeOptions,
        "slurm": SlurmOptions,
        "run": StageRunOptions,
    }
    return grouped(**groups)(gather)


source = click.argument(
    "source", required=False, metavar="[RUN|MODEL]", shell_complete=complete.runs
)
"""A run's name, folder or job id, a model's folder or hub id; the newest run where left out."""

checkpoint = click.option("--checkpoint", help="step-N of the run; by default its final weights.")
revision = click.option("--revision", help="Commit, tag or branch of a model on the hub.")
