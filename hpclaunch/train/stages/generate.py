"""`python -m hpclaunch.train.stages.generate`: what a model writes after prompts.

An adapter is put over its base, as it was trained. Prompts of a batch are padded on the left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.train import phases
from hpclaunch.train.stages.models import import_libraries, load_model, load_tokenizer
from hpclaunch.train.stages.run import StageRun, stage_program


def generate(run: StageRun) -> dict[str, Any]:
    """Return the texts, and how fast they were written. Raises UserError."""
    settings = run.settings
    weights = run.open(run.record.sources[0])
    import_libraries()
    import torch

    device = settings.device
    if device == "gpu" and not torch.cuda.is_available():
        raise UserError("device gpu: PyTorch sees no GPU here", "leave --device out, or take cpu")
    if device == "auto":
        device = "gpu" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    tokenizer = load_tokenizer(weights)
    model = load_model(weights, len(tokenizer), device)
    loaded = time.monotonic()
    torch.manual_seed(settings.seed)
    texts: list[dict[str, Any]] = []
    phases.begin("generating")
    for at in range(0, len(settings.prompts), settings.batch):
        batch = settings.prompts[at : at + settings.batch]
        texts += write_batch(model, tokenizer, batch, settings)
        phases.count(len(texts), len(settings.prompts), "prompts")
    seconds = time.monotonic() - loaded
    tokens = sum(text["tokens"] for text in texts)
    return {
        "texts": texts,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds if seconds else None,
        "generating_seconds": seconds,
        "loading_seconds": loaded - began,
        "device": "CPUs" if device == "cpu" else torch.cuda.get_device_name(0),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def write_batch(
    model: Any, tokenizer: Any, prompts: Sequence[str], settings: Any
) -> list[dict[str, Any]]:
    """Return what the model writes after each prompt; `finished` where it ended by itself."""
    import torch

    chat = bool(settings.chat and tokenizer.chat_template)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    inputs = tokenizer(
        [as_turn(tokenizer, prompt) if chat else prompt for prompt in prompts],
        return_tensors="pt",
        padding=True,
        add_special_tokens=not chat,  # a template writes its own
    )
    inputs = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
    sampled = settings.temperature > 0
    with torch.no_grad():
        output = model.generate(
            **inputs,
            max_new_tokens=settings.max_new_tokens,
            do_sample=sampled,
            **({"temperature": settings.temperature} if sampled else {}),
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
        )
    ends = _end_tokens(model, tokenizer)
    texts = []
    for prompt, row in zip(prompts, output[:, inputs["input_ids"].shape[1] :], strict=True):
        ids = row.tolist()
        length = next((at for at, token in enumerate(ids) if token in ends), None)
        text = tokenizer.decode(ids if length is None else ids[:length], skip_special_tokens=True)
        texts.append(
            {
                "prompt": prompt,
                "text": text.strip() if chat else text,
                "tokens": len(ids) if length is None else length + 1,
                "finished": length is not None,
            }
        )
    return texts


def as_turn(tokenizer: Any, prompt: str) -> str:
    """Write a prompt as the user's turn of a chat."""
    turns = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the tokens at which a text ends."""
    named = getattr(model.generation_config, "eos_token_id", None)
    found = set(named) if isinstance(named, list) else {named}
    return {int(each) for each in (*found, tokenizer.eos_token_id) if each is not None}


if __name__ == "__main__":
    stage_program(generate, quantized=True)
