"""`hpclaunch eval`: a model's scores in tasks of lm-evaluation-harness, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import stage_options
from hpclaunch.cli.help import Command
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.stages.source import KnownSource


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    """Read `hellaswag,arc_easy`."""
    words = [word.strip() for word in (value or "").split(",")]
    return list(dict.fromkeys(word for word in words if word))


@click.command(
    "eval",
    cls=Command,
    examples=[
        ("The newest run and its base, here", "hpclaunch eval --tasks hellaswag,arc_easy"),
        (
            "As a job on four GPUs, each with a copy of the model",
            "hpclaunch eval my-run --tasks truthfulqa_mc2 --sbatch --gpus 4",
        ),
        ("Tasks of your own", "hpclaunch eval my-run --tasks mine --tasks-dir tasks"),
        ("What was found so far, of all runs", "hpclaunch eval --table"),
    ],
)
@stage_options.source
@stage_options.stage_options
@stage_options.checkpoint
@stage_options.revision
@click.option("--tasks", callback=_names, help="Tasks, groups or tags, separated by commas.")
@click.option(
    "--tasks-dir",
    type=click.Path(path_type=Path),
    help="Folder with task files of your own (YAML), beside those of the harness.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows of each task.")
@click.option("--fewshot", type=click.IntRange(0), help="Examples before each question.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, help="Requests at once, on each GPU."
)
@click.option("--chat", is_flag=True, help="Put questions into the model's chat template.")
@click.option("--no-base", is_flag=True, help="Do not evaluate the base model, too.")
@click.option("--table", "as_table", is_flag=True, help="Print the scores of all runs so far.")
@click.pass_obj
def eval(
    typed: Invocation,
    source: str | None,
    how: stage_options.StageOptions,
    checkpoint: str | None,
    revision: str | None,
    tasks: list[str],
    tasks_dir: Path | None,
    limit: int | None,
    fewshot: int | None,
    batch_size: int,
    chat: bool,
    no_base: bool,
    as_table: bool,
) -> int:
    """Evaluate a run or a model with lm-evaluation-harness.

    A run's base model is evaluated, too: the scores before the fine-tune stand beside those after
    it. With several GPUs each holds the whole model and takes its share of the requests. The scores
    are in the evaluation's own run, in the evaluated run's folder and in its report. Unknown tasks
    are refused before anything is written or submitted.
    """
    if as_table:
        from hpclaunch.cli.eval_table import print_table

        return print_table(source, tasks, how.place.as_json)
    if not tasks:
        raise UserError("no task is named", "--tasks hellaswag,arc_easy")
    from hpclaunch.cli.stage import known_source, start
    from hpclaunch.run.stage_settings import Eval

    known = known_source(source, checkpoint, revision)
    base = None if no_base else base_of(known)
    settings = Eval(
        tasks=tuple(tasks),
        tasks_dir=None if tasks_dir is None else str(tasks_dir.expanduser().absolute()),
        limit=limit,
        fewshot=fewshot,
        batch=batch_size,
        chat=chat,
    )
    return start(typed, settings, (known,) if base is None else (known, base), how)


def base_of(known: KnownSource) -> KnownSource | None:
    """Return the model that a run or an adapter started from; None where there is none."""
    from hpclaunch.stages.source import resolve

    recipe = known.recipe
    name = recipe.model.name if recipe is not None else known.base
    if name is None:
        return None
    revision = recipe.model.revision if recipe and recipe.model.name == name else None
    return resolve(name, revision=revision)
