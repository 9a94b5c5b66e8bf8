"""Which `model_type`s the trainer can load, and the defaults of those that are counted here.

`model_types.json` is made from the installed Transformers by hpclaunch/train/model_types.py; JSON,
for every submission reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from hpclaunch.recipe.causal import UnloadableModel
from hpclaunch.shipped import shipped


class _ModelTypes(msgspec.Struct, frozen=True):
    transformers: str
    """Version that the lists were made from."""
    causal_lm: list[str]
    """What AutoModelForCausalLM takes."""
    with_tower: dict[str, str]
    """Of these, the ones that come with a tower for other inputs; and their decoder's
    type, where their class names it."""
    defaults: dict[str, dict[str, int | bool]]
    """What a config that leaves a figure out means by that, by `model_type`."""


@cache
def _listed() -> _ModelTypes:
    text = shipped("predict", "model_types.json").read_bytes()
    return msgspec.json.decode(text, type=_ModelTypes)


def check_loadable(config: Mapping[str, Any], name: str) -> None:
    """Refuse a model that AutoModelForCausalLM does not take. Raises UnloadableModel."""
    family = config.get("model_type")
    if not isinstance(family, str) or not family:
        raise UnloadableModel(f"the config of {name} names no model_type, so nothing can load it")
    if family not in _listed().causal_lm:
        raise UnloadableModel(
            f"{name} cannot be trained here: AutoModelForCausalLM of Transformers "
            f"{_listed().transformers}, with which the trainer loads, does not take {family!r}",
            "name a model with a text decoder alone",
        )


def text_type(config: Mapping[str, Any]) -> str:
    """Return the `model_type` of a model's text decoder."""
    family = str(config.get("model_type", ""))
    text = config.get("text_config") or {}
    named = text.get("model_type") if isinstance(text, Mapping) else None
    return str(named or _listed().with_tower.get(family, family))


def has_tower(family: str) -> bool:
    """Whether models of this `model_type` load a tower for images or sound beside the decoder."""
    return family in _listed().with_tower


def default(family: str, key: str) -> int | bool | None:
    """Return what a config of `family` means where it leaves `key` out; None: not known."""
    return _listed().defaults.get(family, {}).get(key)
