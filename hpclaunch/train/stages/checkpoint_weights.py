"""A checkpoint's weights as a folder that `from_pretrained` takes, as RUN/final would be.

A sharded checkpoint holds the shards of all ranks, without config and tokenizer; both come from the
run's recipe, as they did in the training. Memory: the trained weights once.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import model as models
from hpclaunch.train import phases

SHARDED = "pytorch_model_fsdp_0"
"""Folder of the shards; accelerate's name."""


def whole_weights(run: RunFolder, checkpoint: Path, scratch: Path) -> Path:
    """Return a folder below `scratch` with the checkpoint's weights. Raises UserError."""
    recipe = load(str(run.recipe))
    folder = scratch / f"{run.root.name}-{checkpoint.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with phases.phase(f"putting {checkpoint.name} together"):
        source = models.source(recipe.model)
        tokenizer, new_tokens = models.load_tokenizer(source, recipe)
        tokenizer.save_pretrained(folder)
        skeleton = _skeleton(source, len(tokenizer))
        state = _state(checkpoint)
        if recipe.method.kind == "full":
            _save_model(skeleton, state, recipe, source, folder)
        else:
            _save_adapter(skeleton, state, recipe, source, new_tokens, folder)
    return folder


def _skeleton(source: models.Source, tokens: int) -> Any:
    """Return the model without weights, with embeddings for `tokens` tokens at least."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = models.load_config(source)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if tokens > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(tokens, mean_resizing=False)
    return model


def _state(checkpoint: Path) -> dict[str, Any]:
    """Return the checkpoint's tensors by name. Raises UserError where it has none."""
    from safetensors.torch import load_file

    from hpclaunch.train.checkpoint.state_tree import read_tree
    from hpclaunch.train.checkpoint.training_state import load_checked

    state: dict[str, Any] = {}
    if (checkpoint / SHARDED).is_dir():
        load_checked(lambda: state.update(read_tree(checkpoint / SHARDED)), checkpoint)
        found = state.get("model", state)
        return found if isinstance(found, dict) else {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        state.update(load_file(file))
    if not state:
        raise UserError(f"{checkpoint} holds no weights as safetensors")
    return state


def _save_adapter(
    skeleton: Any,
    state: dict[str, Any],
    recipe: Recipe,
    source: models.Source,
    new_tokens: list[int],
    folder: Path,
) -> None:
    from safetensors.torch import save_file

    config = models.lora_config(recipe, skeleton, new_tokens, 0)
    if config is None:  # whole_weights asks for adapters alone
        raise UserError(f"{folder} is no adapter's")
    config.base_model_name_or_path = source.path
    config.revision = source.revision
    config.inference_mode = True
    config.save_pretrained(folder)
    # As PEFT names them in a file: without the adapter's own name.
    tensors = {name.replace(".default.", "."): value.contiguous() for name, value in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def _save_model(
    skeleton: Any, state: dict[str, Any], recipe: Recipe, source: models.Source, folder: Path
) -> None:
    import torch
    from transformers import GenerationConfig

    from hpclaunch.train.checkpoint.final_weights import MAX_SHARD_SIZE

    dtype = getattr(torch, recipe.model.dtype)
    cast = {n: v.to(dtype) if v.is_floating_point() else v for n, v in state.items()}
    if skeleton.config.tie_word_embeddings:
        cast.pop("lm_head.weight", None)
    with contextlib.suppress(OSError):  # without one, the model's config says how it writes
        skeleton.generation_config = GenerationConfig.from_pretrained(
            source.path, revision=source.revision
        )
    skeleton.save_pretrained(folder, state_dict=cast, max_shard_size=MAX_SHARD_SIZE)
    skeleton.config.dtype = dtype
    skeleton.config.save_pretrained(folder)
