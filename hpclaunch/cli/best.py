"""`hpclaunch best`: the checkpoint of a run with the best score in a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import complete, stage_options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    examples=[
        ("By the task that the recipe names", "hpclaunch best my-run"),
        ("By a metric of another task", "hpclaunch best my-run --task hellaswag/acc_norm"),
    ],
)
@click.argument("training", required=False, metavar="[RUN]", shell_complete=complete.runs)
@stage_options.stage_options
@click.option(
    "--task",
    metavar="TASK[/METRIC]",
    help="What its checkpoints were evaluated with; by default the recipe's checkpoints.best.",
)
@click.option(
    "--evaluated-only",
    is_flag=True,
    help="Leave out checkpoints without a score; by default they are refused.",
)
@click.pass_obj
def best(
    typed: Invocation,
    training: str | None,
    how: stage_options.StageOptions,
    task: str | None,
    evaluated_only: bool,
) -> int:
    """Take the checkpoint of a run with the best score in a task.

    Writes its weights to final/ of the run RUN-best, as a model or adapter that every other command
    takes. Of checkpoints that were evaluated while training went on (evaluate.every: checkpoint).
    With checkpoints.best: TASK the training submits this by itself at its end.
    """
    from hpclaunch.cli.stage import start
    from hpclaunch.stages.best import best_now

    settings, known = best_now(training, task, evaluated_only=evaluated_only)
    return start(typed, settings, (known,), how)
