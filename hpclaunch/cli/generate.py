"""`hpclaunch generate`: what a model writes after prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hpclaunch.cli import stage_options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import rows, say

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.run.folder import RunFolder


@click.command(
    cls=Command,
    examples=[
        ("The newest run, here", 'hpclaunch generate --prompt "What is a node?"'),
        (
            "A file of prompts, a line each, on a GPU in the queue",
            "hpclaunch generate my-run --prompts prompts.txt --sbatch --gpu a100_40",
        ),
    ],
)
@stage_options.source
@stage_options.stage_options
@stage_options.checkpoint
@stage_options.revision
@click.option("--prompt", "prompts", multiple=True, help="A prompt; repeatable.")
@click.option(
    "--prompts",
    "file",
    type=click.Path(path_type=Path),
    help="File of prompts: a line each; of .jsonl each row's `prompt`.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(1), default=128, help="Most of a text; by default 128."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 100),
    default=0.0,
    help="Sample; by default 0, always the likeliest token.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of sampling.")
@click.option(
    "--no-chat", is_flag=True, help="Take prompts as they are, without the chat template."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    help="By default a GPU where there is one.",
)
@click.option("--batch", type=click.IntRange(1), default=8, help="Prompts at once; by default 8.")
@click.pass_obj
def generate(
    typed: Invocation,
    source: str | None,
    how: stage_options.StageOptions,
    checkpoint: str | None,
    revision: str | None,
    prompts: tuple[str, ...],
    file: Path | None,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    no_chat: bool,
    device: Literal["auto", "cpu", "gpu"],
    batch: int,
) -> int:
    """Let a model write after prompts.

    Of a run or any model; an adapter is put over its base. Prints the texts, and on stderr
    throughput and peak memory. A prompt is a user's turn where the model has a chat template.
    """
    from hpclaunch.cli.stage import known_source, start
    from hpclaunch.run.stage_settings import Generate
    from hpclaunch.stages.generate import read_prompts

    settings = Generate(
        prompts=(*prompts, *(read_prompts(file) if file else ())),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        chat=not no_chat,
        device=device,
        batch=batch,
    )
    known = known_source(source, checkpoint, revision)
    return start(typed, settings, (known,), how, _show)


def _show(folder: RunFolder) -> None:
    """Print the texts, with their prompts where there are several."""
    from hpclaunch.cli.stage import result_rows
    from hpclaunch.run.stage import read_results
    from hpclaunch.stages.generate import WRITTEN

    results = read_results(folder)
    texts = results.values.get("texts") if results else None
    for text in texts if isinstance(texts, list) else []:
        if not isinstance(text, dict):
            continue
        if isinstance(texts, list) and len(texts) > 1:
            print(rows([("prompt", str(text.get("prompt")))]))
        print(str(text.get("text")))
        if isinstance(texts, list) and len(texts) > 1:
            print()
    for label, line in result_rows(folder):
        if label != WRITTEN:  # they are on stdout
            say(f"{label}: {line}")
