"""`hpclaunch quantize`: a model in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from hpclaunch.cli import stage_options
from hpclaunch.cli.help import Command
from hpclaunch.run.stage_settings import GgufType, Target

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    examples=[
        ("For llama.cpp, in 8 bits", "hpclaunch quantize my-run --to gguf"),
        (
            "For vLLM, in 4 bits, on a GPU in the queue",
            "hpclaunch quantize my-run --to int4 --sbatch --gpu a100_40",
        ),
    ],
)
@stage_options.source
@click.option(
    "--to",
    type=click.Choice(get_args(Target)),
    required=True,
    help="gguf: for llama.cpp. int8 (W8A8), int4 (W4A16): compressed-tensors, for vLLM. nf4: "
    "bitsandbytes, for Transformers.",
)
@stage_options.stage_options
@stage_options.checkpoint
@stage_options.revision
@click.option(
    "--gguf-type",
    type=click.Choice(get_args(GgufType)),
    default="q8_0",
    help="With --to gguf: type of the matrices; by default q8_0.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=256,
    help="With --to int4: most rows of the run's data to calibrate with; by default 256.",
)
@click.option("--no-perplexity", is_flag=True, help="Leave out what it costs in perplexity.")
@click.pass_obj
def quantize(
    typed: Invocation,
    source: str | None,
    to: Target,
    how: stage_options.StageOptions,
    checkpoint: str | None,
    revision: str | None,
    gguf_type: GgufType,
    rows: int,
    no_perplexity: bool,
) -> int:
    """Write a model in fewer bits.

    Of a run or any model; an adapter is merged into its base first. Prints the sizes before and
    after, and the perplexity on rows of the run's own data.
    """
    from hpclaunch.cli.stage import known_source, start
    from hpclaunch.run.stage_settings import Quantize

    settings = Quantize(to=to, gguf_type=gguf_type, rows=rows, perplexity=not no_perplexity)
    return start(typed, settings, (known_source(source, checkpoint, revision),), how)
