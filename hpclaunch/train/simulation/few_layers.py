"""A model built without weights: its parameters, its kinds of layers, how few of them tell all."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from hpclaunch.train.routers import left_out_of_adapters
from hpclaunch.train.simulation.depth import Cut, cut_of
from hpclaunch.train.towers import freeze_towers, without_adapters

ALIKE = 0.01
"""Share of its parameters by which a model may differ from what two shallower ones say of it."""


def model_cut(request: dict[str, Any]) -> tuple[int, Cut | None]:
    """Return how many layers the model has, and how few of them tell the memory of all.

    None where only all of them do, and 0 layers where the config has no one number of them.
    `request` as `simulate` takes it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = config_of(request)
    text = config.get_text_config()
    depth = int(getattr(text, depth_key(text), 0))
    if not depth:  # of several decoders (BLT)
        return 0, None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, trust_remote_code=False
        )
    try:
        kinds = kinds_of(model, text)
    except LookupError:  # its layers are no list
        return depth, None
    if request["activation_checkpointing"]:  # the first of so many layers is computed again
        every = request.get("every_n_layers", 1)
        kinds = [(each, number % every == 0) for number, each in enumerate(kinds)]
    cut = cut_of(kinds)
    return depth, cut if cut is not None and _alike(request, cut, depth) else None


def _alike(request: dict[str, Any], cut: Cut, depth: int) -> bool:
    """Whether the model can be cut, and is as large as its layers cut to few say."""
    try:
        (few, _), (more, _) = count(request, cut.few), count(request, cut.more)
    except Exception:
        return False  # some families share what layers hold, and cannot be cut anywhere
    whole, _ = count(request)
    slope = (more - few) / (cut.more - cut.few)
    return abs(more + slope * (depth - cut.more) - whole) <= ALIKE * whole


def count(request: dict[str, Any], layers: int | None = None) -> tuple[int, int]:
    """Return the parameters of the model, and those that are trained.

    `layers`: of the model cut to so many.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = config_of(request)
    if layers is not None:
        cut_config(config.get_text_config(), layers)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, trust_remote_code=False
        )
        towers = freeze_towers(model)
        total = sum(int(each.numel()) for each in model.parameters())
        if request["method"] != "full":
            fields = {"target_modules": "all-linear", **request.get("lora", {})}
            fields["exclude_modules"] = without_adapters(
                fields.get("exclude_modules"),
                towers,
                left_out_of_adapters(model, fields["target_modules"]),
            )
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
    trained = (int(each.numel()) for each in model.parameters() if each.requires_grad)
    return total, sum(trained)


def config_of(request: dict[str, Any]) -> Any:
    """Return the config of a request's model, read from a file as the trainer reads it.

    A file may hold what a constructor does not take: infinity as a mapping, keys of old versions.
    """
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(request["config"]), "utf-8")
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def cut_config(config: Any, layers: int) -> None:
    """Leave the first layers of a text model's config."""
    depth = getattr(config, depth_key(config))
    own = config.to_dict().get("per_layer_config") or {}
    setattr(config, depth_key(config), layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, list | tuple) and len(value) == depth:
            with contextlib.suppress(AttributeError):  # of some it follows from the layers' number
                setattr(config, name, value[:layers])
    if own:  # what some layers have otherwise than the others, by their numbers
        config.per_layer_config = {n: keys for n, keys in own.items() if int(n) < layers}


def depth_key(config: Any) -> str:
    """Return the key of a config with the number of the decoder's layers.

    Of an encoder with a decoder, only the decoder is built; `num_hidden_layers` is the encoder's.
    """
    keys = ("num_decoder_layers", "decoder_layers")
    return next((key for key in keys if hasattr(config, key)), "num_hidden_layers")


def kinds_of(model: Any, config: Any) -> list[Hashable]:
    """Return what each layer of a model consists of: modules, shapes, and the config's lists."""
    layers = decoder_layers(model, getattr(config, depth_key(config)))
    lists = [
        value
        for value in vars(config).values()
        if isinstance(value, list | tuple) and len(value) == len(layers)
    ]
    return [
        (_contents(layer), *(str(each[number]) for each in lists))
        for number, layer in enumerate(layers)
    ]


def decoder_layers(model: Any, count: int) -> Any:
    """Return the list of a model's decoder layers: the largest list of `count` modules.

    Raises LookupError where there is none.
    """
    import torch

    found = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise LookupError(f"no list of {count} layers")
    return max(found, key=lambda module: sum(each.numel() for each in module.parameters()))


def _contents(layer: Any) -> Hashable:
    modules = tuple((name, type(each).__name__) for name, each in layer.named_modules())
    return modules, tuple((name, tuple(each.shape)) for name, each in layer.named_parameters())
