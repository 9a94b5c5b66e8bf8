"""`hpclaunch rehearse`: a fine-tune on a small scale, before hours in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.terminal import paint
from hpclaunch.cli.text import print_json, say
from hpclaunch.units import duration

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.rehearse.result import Rehearsal, Stage


@click.command(
    cls=Command,
    examples=[
        (
            "What would be submitted, tried on two CPU processes here",
            "hpclaunch rehearse llama3-8b-lora --dataset my.jsonl --nodes 2 --gpus 4",
        ),
        ("The same on one GPU of this machine", "hpclaunch rehearse llama3-8b-lora --here-gpus 1"),
    ],
)
@options.job
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=2,
    help="CPU processes here; by default 2.",
)
@click.option(
    "--here-gpus", type=click.IntRange(1), help="Use so many GPUs of this machine instead."
)
@click.option("--verbose", "-v", is_flag=True, help="Show the output of the training.")
@click.option("--keep", is_flag=True, help="Keep the run folder although it passed.")
@options.as_json
@click.pass_obj
def rehearse(
    typed: Invocation,
    job: options.JobOptions,
    processes: int,
    here_gpus: int | None,
    verbose: bool,
    keep: bool,
    as_json: bool,
) -> int:
    """Try a fine-tune on a small scale before it queues.

    Takes the arguments of sbatch. On this machine, in minutes, with a two-layer model of the same
    architecture and the first samples of the real data: train, forced stop, resume, final save,
    load back. Exits with 0 where every stage passed, with 1 where one failed.
    """
    from dataclasses import asdict

    from hpclaunch.cli.resources import request
    from hpclaunch.errors import UserError
    from hpclaunch.plan.resources import Resources
    from hpclaunch.rehearse.stages import rehearse as run_stages
    from hpclaunch.run.lines import show

    if job.run.test_run:
        raise UserError("rehearse is a test run in small itself", "leave --test-run out")
    requested = request("sbatch", typed, job)
    local = Resources(gpus=here_gpus) if here_gpus else Resources(cpu_processes=processes)
    result = run_stages(
        requested,
        local,
        show=(lambda line: print(show(line, 1), flush=True)) if verbose else (lambda _: None),
        passed=(lambda _: None) if as_json else _print_stage,
        begins=lambda name: say(f"{name} ..."),
        keep=keep,
    )
    if as_json:
        print_json(asdict(result) | {"passed": result.passed})
    else:
        _print_result(result)
    return 130 if result.interrupted else 0 if result.passed else 1


def _print_stage(stage: Stage) -> None:
    """Print a stage's line, and what to do where it failed."""
    from textwrap import shorten

    label = paint("ok  ", "good") if stage.passed else paint("FAIL", "bad")
    text = shorten(stage.result, 300, placeholder=" ...")
    print(f"{label}  {stage.name:<16}{text} ({duration(stage.seconds)})", flush=True)
    for step in stage.advice:
        print(f"      {'next':<16}{step}", flush=True)


def _print_result(result: Rehearsal) -> None:
    if result.interrupted:
        print("interrupted")
    elif result.passed:
        passed = paint(f"passed in {duration(result.seconds)}", "good")
        print(f"{passed}; not rehearsed: {', '.join(result.missing)}")
    else:
        print(paint("this run would have failed", "bad"))
    if result.folder:
        print(f"      {'folder':<16}{result.folder}")
