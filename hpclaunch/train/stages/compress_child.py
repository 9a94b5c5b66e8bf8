"""Quantize with llm-compressor: a program of its own, in the environment that has it.

Reads a JSON request from stdin, writes a JSON answer to the file that it names. It imports nothing
of hpclaunch, which is not in that environment.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

SCHEMES = {"int8": "W8A8", "int4": "W4A16"}
_IGNORED = ["lm_head"]


def main() -> int:
    """Do what the request says; returns the exit code."""
    request = json.load(sys.stdin)
    model, out, scheme = request["model"], request["out"], SCHEMES[request["to"]]
    texts: list[str] = request["texts"]
    if request["to"] == "int4" and texts:
        _gptq(model, out, scheme, texts, request["max_length"])
    else:
        from llmcompressor import model_free_ptq

        model_free_ptq(
            model_stub=model,
            save_directory=out,
            scheme=scheme,
            ignore=[*_IGNORED, "re:.*lm_head", "re:.*embed_tokens"],
            max_workers=1,
            device=_device(),
        )
    answer = {"perplexity": _perplexity(out, request["measured"], request["max_length"])}
    Path(request["answer"]).write_text(json.dumps(answer), "utf-8")
    return 0


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _gptq(model: str, out: str, scheme: str, texts: list[str], max_length: int) -> None:
    """Quantize layer by layer, each to the activations that the texts bring about."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    special = not tokenizer.chat_template
    rows = [
        dict(tokenizer(t, truncation=True, max_length=max_length, add_special_tokens=special))
        for t in texts
    ]
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype="auto", use_safetensors=True, trust_remote_code=False
    )
    oneshot(
        model=loaded,
        tokenizer=tokenizer,
        dataset=Dataset.from_list(rows),
        recipe=GPTQModifier(targets="Linear", scheme=scheme, ignore=_IGNORED),
        max_seq_length=max_length,
        num_calibration_samples=len(rows),
    )
    loaded.save_pretrained(out, save_compressed=True)
    tokenizer.save_pretrained(out)


def _perplexity(folder: str, texts: list[str], max_length: int) -> float | None:
    """Return e to the mean loss of a token; None without texts."""
    if not texts:
        return None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    options: dict[str, Any] = {"device_map": "auto"} if _device() == "cuda" else {}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", trust_remote_code=False, **options
    ).eval()
    loss, tokens = 0.0, 0
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(
                text,
                return_tensors="pt",
                truncation=True,
                max_length=max_length,
                add_special_tokens=not tokenizer.chat_template,
            )["input_ids"].to(model.device)
            if ids.shape[1] > 1:
                logits = model(input_ids=ids).logits[0, :-1].float()
                losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                loss += float(losses)
                tokens += ids.shape[1] - 1
    return math.exp(min(loss / tokens, 700.0)) if tokens else None


if __name__ == "__main__":
    sys.exit(main())
