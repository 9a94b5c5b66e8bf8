"""A model with a vision tower is trained on text: the tower is frozen and gets no adapters."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.predict.families import FAMILIES, architecture
from hpclaunch.train.model_types import COUNTED, model_types
from hpclaunch.train.towers import freeze_towers, without_adapters

pytestmark = pytest.mark.train


def tiny(**more: Any) -> dict[str, Any]:
    text = {
        "model_type": "gemma3_text", "hidden_size": 32, "intermediate_size": 64, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 300000, **more,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
        "vision_use_head": False,
    }  # fmt: skip
    return {"model_type": "gemma3", "text_config": text, "vision_config": vision}


def built(config: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


def test_the_tower_is_frozen_and_the_adapter_is_the_decoders() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model, counted = built(tiny()), architecture(tiny())
    assert sum(each.numel() for each in model.parameters()) == counted.parameters
    towers = freeze_towers(model)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert trained == counted.decoder_parameters
    names = {type(module).__name__ for module in model.modules()}
    assert set(model._no_split_modules) <= names, "accelerate wraps classes that are there"
    exclude = without_adapters(["k_proj"], towers)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    with torch.device("meta"):
        whole = get_peft_model(
            built(tiny()), LoraConfig(**{**lora.to_dict(), "exclude_modules": towers})
        )
        part = get_peft_model(model, LoraConfig(**{**lora.to_dict(), "exclude_modules": exclude}))
    adapted = sum(each.numel() for each in whole.parameters() if each.requires_grad)
    assert adapted == counted.adapter_parameters(4)
    trained = [name for name, each in part.named_parameters() if each.requires_grad]
    assert trained and not any("vision" in name or "k_proj" in name for name in trained)


def test_a_model_without_a_tower_is_left_as_it_is() -> None:
    model = built({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1})
    assert freeze_towers(model) is None
    assert all(each.requires_grad for each in model.parameters())
    assert without_adapters(None, None) is None


def test_the_list_of_models_is_the_installed_transformers() -> None:
    assert set(COUNTED) == FAMILIES | {"siglip_vision_model"}
    text = Path(str(resources.files("hpclaunch.predict"))) / "model_types.json"
    assert json.loads(text.read_text("utf-8")) == model_types()


def test_a_router_that_returns_a_tuple_gets_no_adapter() -> None:
    """PEFT's all-linear takes it for a linear layer, and the first forward pass would fail."""
    import torch
    from peft import LoraConfig, get_peft_model

    from hpclaunch.train.routers import router_names

    config = {
        "model_type": "llama4_text", "hidden_size": 32, "intermediate_size": 48, "head_dim": 8,
        "intermediate_size_mlp": 64, "num_hidden_layers": 12, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_local_experts": 2, "vocab_size": 64, "pad_token_id": 0,
    }  # fmt: skip
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    names = router_names(model)
    assert names == r"model\.layers\.\d+\.feed_forward\.router"
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        exclude_modules=without_adapters(["k_proj"], None, names),
    )
    adapted = get_peft_model(model, lora)
    assert "router" not in str(adapted.targeted_module_names)
    assert "k_proj" not in str(adapted.targeted_module_names)
    assert "shared_expert.gate_proj" in str(adapted.targeted_module_names)
    tokens = torch.arange(8)[None]
    assert adapted(input_ids=tokens, labels=tokens).loss.isfinite()


def test_a_grouped_layer_gets_no_adapter() -> None:
    """It takes its input in groups, as no adapter does: the first forward pass would fail."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.routers import left_out_of_adapters

    config = {
        "model_type": "deepseek_v4", "hidden_size": 64, "vocab_size": 64, "head_dim": 32,
        "moe_intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "q_lora_rank": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "o_groups": 2,
        "o_lora_rank": 16, "index_topk": 8, "index_head_dim": 32, "index_n_heads": 2,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    names = left_out_of_adapters(model, "all-linear")
    adapted = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=names)
    )
    assert "self_attn.o_b_proj" in str(adapted.targeted_module_names)
    tokens = torch.arange(8)[None]
    assert adapted(input_ids=tokens, labels=tokens).loss.isfinite()


def test_what_peft_refuses_of_mamba_is_left_out_and_the_rest_adapted() -> None:
    """Its all-linear stops at out_proj, whose weights Mamba's kernels take past an adapter."""
    from hpclaunch.train.simulation.few_layers import count

    config = {
        "model_type": "falcon_h1", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16,
    }  # fmt: skip
    request: dict[str, Any] = {"config": config, "method": "lora", "lora": {"r": 2}}
    _, trained = count(request)
    assert trained
    with pytest.raises(ValueError, match="out_proj"):
        count({**request, "lora": {"r": 2, "target_modules": ["out_proj"]}})


def test_a_model_without_routers_has_none_to_leave_out() -> None:
    from hpclaunch.train.routers import router_names

    assert router_names(built(tiny())) is None
