"""Generate: what a model writes after prompts, in RUN/results.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.inference import PROCESS, writing_memory, writing_seconds
from hpclaunch.run.stage_settings import Generate
from hpclaunch.stages.loaded import loaded_model
from hpclaunch.stages.need import Device, Facts, Need, Unknown
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Place, Rows, Stage
from hpclaunch.units import count, duration

MAX_CHARACTERS = 1 << 20
"""Of all prompts together: they are kept in stage.json."""

MAX_READ = 1 << 28
"""Characters of a file of prompts, with what else its rows hold."""

BYTES_OF_A_TOKEN, TEMPLATE_TOKENS = 3, 40
"""Bytes of a prompt's text that a token stands for at least, and tokens of a chat template: both
are assumed."""

WRITTEN = "wrote"
"""Label of the rows with texts."""
SHOWN, WIDTH = 3, 300
"""Texts that are shown, and characters of each."""


def check(settings: Generate, sources: Sequence[KnownSource]) -> None:
    """Refuse a request without prompts, or with more than stage.json holds. Raises UserError."""
    if not settings.prompts:
        raise UserError("there is no prompt", "add --prompt TEXT, or --prompts FILE")
    if any(not prompt.strip() for prompt in settings.prompts):
        raise UserError("a prompt is empty", "leave it out")
    characters = sum(map(len, settings.prompts))
    if characters > MAX_CHARACTERS:
        raise UserError(
            f"{characters:,} characters of prompts: at most {MAX_CHARACTERS:,} at once",
            "split the file of prompts",
        )


def place(settings: Generate, sources: Sequence[KnownSource]) -> Place:
    """Return where it runs: as said, else on a GPU where there is one."""
    return "either" if settings.device == "auto" else settings.device


def need(settings: Generate, sources: Sequence[KnownSource]) -> Need | Unknown:
    """Return weights, the cache of all tokens of a batch, and what a layer holds."""
    used = loaded_model(sources[0])
    if isinstance(used, Unknown):
        return used
    longest = max(len(text.encode(errors="replace")) for text in settings.prompts)
    prompt = longest // BYTES_OF_A_TOKEN + (TEMPLATE_TOKENS if settings.chat else 1)
    batch, new = min(settings.batch, len(settings.prompts)), settings.max_new_tokens
    memory = writing_memory(used, batch, prompt, new)

    def facts(device: Device) -> Facts:
        if device.hardware is None:
            return []
        batches = -(-len(settings.prompts) // settings.batch)
        seconds = batches * writing_seconds(used, batch, prompt, new, device.hardware)
        rate = len(settings.prompts) * new / seconds
        return [("time", f"{duration(seconds)}, {rate:,.0f} tokens/s, beside loading")]

    return Need(
        gpu=memory,
        shared=True,
        host_bytes=int(2 * PROCESS),
        cpu_bytes=int(PROCESS + memory.tensors),
        facts=facts,
        assumed=(f"prompts of {prompt:,} tokens at most", "no text ends before --max-new-tokens"),
        smaller="hpclaunch quantize it --to nf4",
    )


def rows(values: Mapping[str, Any]) -> Rows:
    """Return how much was written and how fast, as label and text."""
    texts = values.get("texts")
    rate = values.get("tokens_per_second")
    if not isinstance(texts, list) or not isinstance(rate, int | float):
        return []
    cut = sum(1 for text in texts if isinstance(text, dict) and not text.get("finished"))
    ended = f"; {cut} cut off at the most tokens" if cut else ""
    return [
        ("texts", f"{len(texts)}, {count(values.get('tokens'))} tokens in all{ended}"),
        (
            "throughput",
            f"{rate:,.1f} tokens/s on {values.get('device')} in {values.get('dtype')}, loading "
            f"{duration(values.get('loading_seconds'))} not counted",
        ),
        *((WRITTEN, each) for each in _begins(texts)),
    ]


def _begins(texts: Sequence[Any]) -> Iterator[str]:
    """Return the begins of the first texts, each in one line: a job's are printed nowhere else."""
    for text in texts[:SHOWN]:
        written = " ".join(str(text.get("text")).split()) if isinstance(text, dict) else ""
        yield written if len(written) <= WIDTH else f"{written[:WIDTH]} ..."
    if len(texts) > SHOWN:
        yield f"{len(texts) - SHOWN} more in results.json"


def read_prompts(path: Path) -> tuple[str, ...]:
    """Return the prompts of a file: a line each, or of a .jsonl file each row's `prompt`.

    Raises UserError.
    """
    try:
        if path.is_fifo() and not str(path).startswith(("/dev/fd/", "/proc/")):
            raise UserError(f"--prompts {path}: a pipe that nobody may ever write to")
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_READ + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"--prompts {path}: cannot be read: {why}") from None
    if len(text) > MAX_READ:
        raise UserError(f"--prompts {path}: more than {MAX_READ:,} characters", "split it")
    if path.suffix not in {".jsonl", ".ndjson"}:
        return tuple(line for line in text.split("\n") if line.strip())
    return tuple(_prompts_of_rows(text, path))


def _prompts_of_rows(text: str, path: Path) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: not valid JSON: {error}") from None
        prompt = row.get("prompt") if isinstance(row, dict) else row
        if not isinstance(prompt, str):
            raise UserError(f"{path}:{number}: no text under 'prompt'", 'write {"prompt": "..."}')
        yield prompt


STAGE = Stage(settings=Generate, rows=rows, check=check, place=place, need=need)
