"""`hpclaunch rehearse`: a fine-tune in small, before hours in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, say
from hpclaunch.units import duration

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.rehearse.result import Rehearsal, Stage


@click.command()
@options.words
@options.grouped(
    nodes=options.NodeOptions,
    queue=options.SlurmOptions,
    recipe=options.RecipeOptions,
    sharding=options.ShardingOptions,
    run=options.RunOptions,
)
@click.option(
    "--processes", type=click.IntRange(1), default=2, help="CPU processes here; 2 by default."
)
@click.option(
    "--here-gpus", type=click.IntRange(1), help="Rehearse on so many GPUs of this machine instead."
)
@click.option("--verbose", "-v", is_flag=True, help="Show the training's own lines.")
@click.option("--keep", is_flag=True, help="Keep the run folder of a rehearsal that passed.")
@options.as_json
@click.pass_obj
def rehearse(
    typed: Invocation,
    words: tuple[str, ...],
    nodes: options.NodeOptions,
    queue: options.SlurmOptions,
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    run: options.RunOptions,
    processes: int,
    here_gpus: int | None,
    verbose: bool,
    keep: bool,
    as_json: bool,
) -> int:
    """Try a fine-tune in small, before it queues.

    Takes what sbatch takes. On this machine, in minutes: a two-layer model of the same
    architecture, the first samples of the real data; train, forced stop, resume, final save, load
    back. Exits 0 where all passed, 1 where something would have broken.
    """
    from dataclasses import asdict

    from hpclaunch.cli.resources import request
    from hpclaunch.plan.resources import Resources
    from hpclaunch.rehearse.stages import rehearse as go
    from hpclaunch.run.lines import show

    asked = request(
        "sbatch", typed, words,
        recipe=recipe, sharding=sharding, run=run, nodes=nodes, queue=queue,
    )  # fmt: skip
    local = Resources(gpus=here_gpus) if here_gpus else Resources(cpu_processes=processes)
    found = go(
        asked,
        local,
        show=(lambda line: print(show(line, 1), flush=True)) if verbose else (lambda _: None),
        passed=(lambda _: None) if as_json else _print_stage,
        begins=lambda name: say(f"{name} ..."),
        keep=keep,
    )
    if as_json:
        answer_json(asdict(found) | {"passed": found.passed})
    else:
        _print_end(found)
    return 130 if found.interrupted else 0 if found.passed else 1


def _print_stage(stage: Stage) -> None:
    """Return a stage's line, and what to do where it failed."""
    mark = "ok  " if stage.passed else "FAIL"
    from textwrap import shorten

    said = shorten(stage.said, 300, placeholder=" ...")
    print(f"{mark}  {stage.name:<16}{said} ({duration(stage.seconds)})", flush=True)
    for step in stage.advice:
        print(f"      {'next':<16}{step}", flush=True)


def _print_end(found: Rehearsal) -> None:
    if found.interrupted:
        print("interrupted")
    elif found.passed:
        print(f"passed in {duration(found.seconds)}; not rehearsed: {', '.join(found.missing)}")
    else:
        print("it would have broken")
    if found.folder:
        print(f"      {'folder':<16}{found.folder}")
