"""Shapes read from configs as they are published: figures left out, towers, what cannot load."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.predict.families import architecture
from hpclaunch.predict.memory import memory
from hpclaunch.predict.sizes import UncountedModel
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.causal import UnloadableModel

GEMMA3_4B: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
        "num_hidden_layers": 34, "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
        "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27,
        "patch_size": 14, "vision_use_head": False,
    },
}  # fmt: skip
GEMMA3_12B: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 3840, "intermediate_size": 15360, "num_attention_heads": 16,
        "num_hidden_layers": 48, "num_key_value_heads": 8,
    },
    "vision_config": GEMMA3_4B["vision_config"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters"), [(GEMMA3_4B, 4_300_079_472), (GEMMA3_12B, 12_187_325_040)]
)
def test_a_published_config_leaves_defaults_out(config: dict[str, Any], parameters: int) -> None:
    model = architecture(config)
    assert model.parameters == parameters
    assert model.tie_word_embeddings


def test_a_vision_tower_is_held_and_not_trained() -> None:
    model = architecture(GEMMA3_4B)
    text = architecture({**GEMMA3_4B["text_config"], "vocab_size": 262208})
    assert model.decoder_parameters == text.parameters
    for method in ("lora", "full"):
        adapter = 0 if method == "full" else model.adapter_parameters(16)
        here, alone = (
            TrainingStep(each, method, adapter, "full", 2, 1, 512, True) for each in (model, text)
        )
        assert here.trained_parameters == alone.trained_parameters
        assert memory(here).weights - memory(alone).weights == model.tower_parameters


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mistral3", "text_config": {"model_type": "mistral", "hidden_size": 512}},
        {"model_type": "llava", "text_config": {"model_type": "llama"}},
        {"model_type": "qwen2_5_vl", "hidden_size": 512},
        {"model_type": "t5"},
        {"hidden_size": 512},
        {"model_type": 7},
    ],
)
def test_what_the_trainer_cannot_load_is_refused_as_such(config: dict[str, Any]) -> None:
    with pytest.raises(UnloadableModel):
        architecture(config)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt_neox"},
        {"model_type": "gemma3n"},
        {"model_type": "got_ocr2", "text_config": {"model_type": "qwen2"}},
        {**GEMMA3_4B, "vision_config": {"model_type": "clip_vision_model"}},
        {"model_type": "qwen3_moe", "mlp_only_layers": [0, 1]},
        {"model_type": "qwen2_moe", "decoder_sparse_step": 2},
    ],
)
def test_what_is_not_counted_is_for_the_simulation(config: dict[str, Any]) -> None:
    with pytest.raises(UncountedModel, match="") as caught:
        architecture(config)
    assert "--exact" in caught.value.fix


@pytest.mark.parametrize("value", [0, -1, 2.5, "wide", True, None, 10**8])
def test_a_figure_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="hidden_size is"):
        architecture({"model_type": "llama", "hidden_size": value})


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 100, "num_attention_heads": 7},
        {"num_attention_heads": 32, "num_key_value_heads": 5},
    ],
)
def test_heads_that_do_not_come_out_even_are_refused(sizes: dict[str, int]) -> None:
    """Transformers refuses them when it builds the model."""
    with pytest.raises(UserError, match="is no multiple of num_"):
        architecture({"model_type": "llama", **sizes})


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ({"model_type": "llama"}, 6_738_415_616),
        ({"model_type": "mistral"}, 7_241_732_096),
        ({"model_type": "mixtral"}, 46_702_792_704),
    ],
)
def test_a_bare_family_means_its_first_model(config: dict[str, Any], parameters: int) -> None:
    """As Transformers builds it: Llama 2 7B, Mistral 7B, Mixtral 8x7B."""
    assert architecture(config).parameters == parameters
