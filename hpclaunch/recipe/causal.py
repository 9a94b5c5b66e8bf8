"""Models that are no causal language models, though AutoModelForCausalLM names them.

AutoModelForCausalLM loads encoders (BERT, RoBERTa) as they are: without a key of their config they
attend in both directions, and the answer that a step is to predict is part of what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError

_ENCODERS = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert",
    "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


class UnloadableModel(UserError):
    """The trainer cannot load the model, or not as a causal language model."""


CAUSAL_BY: dict[str, dict[str, bool | str]] = {
    **{family: {"is_decoder": True} for family in _ENCODERS},
    "xlm": {"causal": True},
    "xlnet": {"attn_type": "uni"},
}
"""The key of a config that makes a family's attention causal, by `model_type`, with its value."""
_NO_LANGUAGE_MODELS = {
    **dict.fromkeys(
        ("gemma4_assistant", "gemma4_unified_assistant"),
        "it proposes tokens for another model, whose keys and values it reads",
    ),
    **dict.fromkeys(
        ("musicgen", "musicgen_melody"),
        "AutoModelForCausalLM builds its decoder of sound alone, which does not take its config",
    ),
}
"""Why a family that AutoModelForCausalLM names is no causal language model, by `model_type`."""


def check_causal(config: Mapping[str, Any], name: str) -> None:
    """Refuse a model that cannot be trained as a causal language model.

    `config`: its config.json. `name`: the model's, for the message. Raises UnloadableModel.
    """
    family = str(config.get("model_type"))
    if family in _NO_LANGUAGE_MODELS:
        raise UnloadableModel(
            f"{name} cannot be trained as a causal language model: {_NO_LANGUAGE_MODELS[family]}",
            "name a model with a text decoder alone",
        )
    for key, value in CAUSAL_BY.get(family, {}).items():
        if config.get(key) != value:
            raise UnloadableModel(
                f"{name} cannot be trained as a causal language model: its config has no "
                f"{key}={value}, so each token of this {family} sees those after it",
                "name a model with a text decoder",
            )
