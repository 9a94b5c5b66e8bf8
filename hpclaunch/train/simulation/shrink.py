"""`python -m hpclaunch.train.simulation.shrink MODEL FOLDER`: a small model of one architecture.

Two layers, two heads, random weights; the class, the names of its layers, the head dimension
(rotary embeddings are cut for it), the vocabulary and the tokenizer are the model's own. Of the
model itself its config and tokenizer are read, and no weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Model
from hpclaunch.train.failure import one_line
from hpclaunch.train.process import run_program
from hpclaunch.train.quiet import quieten

LAYERS, HEADS, EXPERTS = 2, 2, 4


def shrink(model: Model, folder: Path) -> int:
    """Write the small model and the tokenizer into `folder`; give its number of parameters.

    Raises UserError where config or tokenizer cannot be had, or the architecture cannot be built
    this small.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from hpclaunch.train import tiny_llama
    from hpclaunch.train.hub import explain

    name = (
        str(tiny_llama.folder_of(model.name)) if model.name.startswith("builtin:") else model.name
    )
    with explain("model", model.name):
        config = AutoConfig.from_pretrained(name, revision=model.revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=model.revision, trust_remote_code=False
        )
    torch.manual_seed(0)
    try:
        cut(config)
        small = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, model.dtype), trust_remote_code=False
        )
    except Exception as error:  # each architecture has checks of its own
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"a small {config.model_type} cannot be built from the config of {model.name}: {text}",
            "rehearse with a small model of the family: --model NAME",
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    small.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in small.parameters())


def cut(config: Any) -> None:
    """Make a config small in place: few layers, heads and experts, narrow layers between."""
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None) or HEADS
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    shared = getattr(text, "num_key_value_heads", None)
    width = HEADS * head
    small = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS if shared in (None, heads) else 1,
        "head_dim": head,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": width,
        "num_local_experts": EXPERTS,
        "num_experts": EXPERTS,
        "n_routed_experts": EXPERTS,
    }
    for key, value in small.items():
        if getattr(text, key, None) is not None:
            _set(text, key, value)
    if getattr(text, "num_experts_per_tok", None):
        text.num_experts_per_tok = min(text.num_experts_per_tok, 2)
    if getattr(text, "layer_types", None):
        _set(text, "layer_types", _each_kind(list(text.layer_types)))


def _set(config: Any, key: str, value: Any) -> None:
    """Set a key, unless the config derives it from others."""
    with contextlib.suppress(AttributeError):
        setattr(config, key, value)


def _each_kind(layers: list[str]) -> list[str]:
    """Return the kinds of the layers that are left: two different ones where there are several."""
    kinds = list(dict.fromkeys(layers))
    return (kinds * LAYERS)[:LAYERS]


def main(arguments: list[str]) -> int:
    """Parse the command line, build, print what was built as JSON; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hpclaunch.train.simulation.shrink", description=__doc__
    )
    parser.add_argument("model", help="hub id, folder or builtin")
    parser.add_argument("folder", type=Path, help="where the small model goes")
    parser.add_argument("--revision")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    given = parser.parse_args(arguments)
    quieten()
    try:
        from hpclaunch.train.quiet import quieten_libraries

        quieten_libraries(first_rank=True)
        model = Model(name=given.model, revision=given.revision, dtype=given.dtype)
        print(json.dumps({"parameters": shrink(model, given.folder), "layers": LAYERS}))
    except UserError as error:
        print(f"hpclaunch: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
