"""Which models that AutoModelForCausalLM loads are no causal language models."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.recipe.causal import CAUSAL_BY, UnloadableModel, check_causal

pytestmark = pytest.mark.train

CAUSAL_ANYWAY = {"gpt_neox", "gpt_neox_japanese", "trocr"}
"""Decoders whose config has a flag for it that changes nothing."""
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "xlm": {"emb_dim": 32, "n_layers": 1, "n_heads": 2},
    "xlnet": {"d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 32},
}


def test_every_encoder_of_transformers_is_known() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    flagged = {
        family
        for family in CLASSES
        if getattr(CONFIG_MAPPING[family], "is_decoder", None) is False
        and not CONFIG_MAPPING[family]().is_encoder_decoder  # whose decoder alone is built
    }
    assert set(CAUSAL_BY) == flagged - CAUSAL_ANYWAY | {"xlm", "xlnet"}


@pytest.mark.parametrize("family", sorted(SMALL))
def test_an_encoder_is_refused_unless_its_config_makes_it_causal(family: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = torch.arange(5, 13).reshape(1, 8)
    other = ids.clone()
    other[0, -1] += 20
    for more, causal in (({}, False), (CAUSAL_BY[family], True)):
        config = AutoConfig.for_model(family, vocab_size=64, **SMALL[family], **more)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        for each in model.parameters():
            torch.nn.init.normal_(each)
        with torch.no_grad():
            before, after = model(input_ids=ids).logits, model(input_ids=other).logits
        assert torch.allclose(before[0, :-1], after[0, :-1], atol=1e-5) == causal
        if causal:
            check_causal(config.to_dict(), "mine")
        else:
            with pytest.raises(UnloadableModel, match="mine cannot be trained as a causal"):
                check_causal(config.to_dict(), "mine")
