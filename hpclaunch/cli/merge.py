"""`hpclaunch merge`: an adapter and its base become one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import stage_options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    examples=[
        ("The newest run's adapter, here", "hpclaunch merge"),
        ("As a batch job, on four cores", "hpclaunch merge my-run --sbatch --cpus 4 --mem 16G"),
    ],
)
@stage_options.source
@stage_options.stage_options
@stage_options.checkpoint
@click.option(
    "--no-verify", is_flag=True, help="Leave out that logits before and after are compared."
)
@click.pass_obj
def merge(
    typed: Invocation,
    source: str | None,
    how: stage_options.StageOptions,
    checkpoint: str | None,
    no_verify: bool,
) -> int:
    """Merge a LoRA adapter into its base model.

    Writes a model that needs no PEFT. The base is read tensor by tensor in the type it is stored
    in, so that the memory of the largest tensor twice is enough, also after QLoRA. Then the logits
    of base and adapter are held against those of the merged model.
    """
    from hpclaunch.cli.stage import known_source, start
    from hpclaunch.run.stage_settings import Merge

    known = known_source(source, checkpoint)
    return start(typed, Merge(verify=not no_verify), (known,), how)
