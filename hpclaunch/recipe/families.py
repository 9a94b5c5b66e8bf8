"""Ready recipes of published models: one template, a row of `models.json` a model."""

from __future__ import annotations

from functools import cache
from typing import get_args

import msgspec

from hpclaunch.recipe.schema import MethodKind
from hpclaunch.shipped import shipped

METHODS: tuple[MethodKind, ...] = get_args(MethodKind)

_METHOD_TITLES = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}
_TRAINED = {
    "full": "all weights",
    "lora": "LoRA over bf16 weights",
    "qlora": "LoRA over 4-bit weights",
}
_LARGE = 50
"""Parameters in thousand millions from which a recipe says what it needs, and saves more often."""
GLOBAL_BATCH = 32
"""Rows of an optimizer step over all GPUs, each packed with up to max_length tokens. It can be
divided over 1, 2, 4, 8, 16 and 32 GPUs."""
_LARGE_NOTES = {
    "full": ["16 bytes a parameter over all ranks: from 16 x 80 GB with room to breathe at 32."],
    "lora": ["Fits 4 nodes x 4 A100 40 GB, or 2 x 4 A100 80 GB, sharded over all ranks."],
    "qlora": [
        "The first choice where the network between nodes is slow: add --sharding hybrid, and only "
        "the\n# adapter's gradients cross nodes.",
    ],
}
_TEMPLATE = """\
# {title}: {trained}, supervised fine-tuning.
{notes}name: {name}
description: {description}

model:
  name: {hub}
{gated}
data:
  name: tatsu-lab/alpaca
  limit: 1000            # take this line out for all 52,002 samples

method:
  kind: {method}
{lora}
training:               # any field of TRL's SFTConfig, by its own name
  num_train_epochs: 3
  max_length: 4096
  global_batch: {batch}       # rows of a step; batch and accumulation follow from the GPUs

checkpoints:
  every_steps: {every}
  keep: 2
"""
_GATED = "  gated: true            # ask for access on the hub once, then log in: hf auth login\n"
_LORA = "  lora: {r: 16, lora_alpha: 32, lora_dropout: 0.0, target_modules: all-linear}\n"


class PublishedModel(msgspec.Struct, frozen=True):
    """A model of the hub that has ready recipes."""

    name: str
    """Beginning of its recipes' names."""
    title: str
    hub: str
    billions: float
    """Parameters, in thousand millions."""
    suffix: str = ""
    """What its makers call this variant."""
    gated: bool = False
    note: str = ""
    """What is to be known of every recipe of it."""
    experts: bool = False
    """It is a mixture of experts."""

    @property
    def recipes(self) -> dict[str, MethodKind]:
        """Return the names of its recipes, with the method of each.

        No QLoRA of experts: 4-bit loading leaves their stacked matrices as they are.
        """
        methods = [each for each in METHODS if not (self.experts and each == "qlora")]
        return {f"{self.name}-{method}": method for method in methods}


@cache
def published_models() -> tuple[PublishedModel, ...]:
    """Return the models that have ready recipes, in the order in which they are listed."""
    text = shipped("recipe", "models.json").read_bytes()
    return tuple(msgspec.json.decode(text, type=list[PublishedModel]))


def recipe_text(name: str) -> str | None:
    """Return the YAML of a published model's recipe, None for another name."""
    for model in published_models():
        if name in model.recipes:
            return _text(model, name, model.recipes[name])
    return None


def _text(model: PublishedModel, name: str, method: MethodKind) -> str:
    notes = [model.note] if model.note else []
    notes += _LARGE_NOTES[method] if model.billions >= _LARGE else []
    return _TEMPLATE.format(
        title=model.title,
        trained=_TRAINED[method],
        notes="".join(f"# {note}\n" for note in notes),
        name=name,
        description=f"{model.title}{model.suffix}, {_METHOD_TITLES[method]}, on Alpaca",
        hub=model.hub,
        gated=_GATED if model.gated else "",
        method=method,
        lora=_LORA if method != "full" else "",
        batch=GLOBAL_BATCH,
        every=20 if model.billions >= _LARGE else 50,
    )
