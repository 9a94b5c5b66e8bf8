"""Counting weights by a config alone, against what Transformers builds and PEFT adapts."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.predict.families import FAMILIES, architecture
from hpclaunch.predict.known_models import known_config

pytestmark = pytest.mark.train

USUAL: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000,
}  # fmt: skip
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
MORE: dict[str, dict[str, Any]] = {
    "phi3": {"pad_token_id": 0},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 384},
    "qwen3_moe": EXPERTS,
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2},
}
RANK = 16


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_weights_and_adapters(family: str, tied: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {**USUAL, **MORE.get(family, {}), "tie_word_embeddings": tied}
    config = AutoConfig.for_model(family, **given)
    counted = architecture(config.to_dict())
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert counted.parameters == sum(each.numel() for each in model.parameters())
    settings = LoraConfig(task_type="CAUSAL_LM", r=RANK, target_modules="all-linear")
    with torch.device("meta"):
        adapted = get_peft_model(model, settings)
    trained = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    assert counted.adapter_parameters(RANK) == trained


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
        ("meta-llama/Meta-Llama-3-70B", 70_553_706_496),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("mistralai/Mistral-7B-v0.1", 7_241_732_096),
        ("mistralai/Mixtral-8x7B-v0.1", 46_702_792_704),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("Qwen/Qwen3-14B", 14_768_307_200),
        ("Qwen/Qwen3-32B", 32_762_123_264),
        ("Qwen/Qwen3-30B-A3B", 30_532_122_624),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552),
        ("mistralai/Mistral-Nemo-Instruct-2407", 12_247_782_400),
        ("mistralai/Mistral-Small-24B-Instruct-2501", 23_572_403_200),
        ("google/gemma-3-1b-it", 999_885_952),
        ("google/gemma-3-4b-it", 4_300_079_472),
        ("google/gemma-3-12b-it", 12_187_325_040),
        ("google/gemma-3-27b-it", 27_432_406_640),
        ("microsoft/phi-4", 14_659_507_200),
        ("microsoft/Phi-4-mini-instruct", 3_836_021_760),
        ("allenai/OLMo-2-0425-1B-Instruct", 1_484_916_736),
        ("allenai/OLMo-2-1124-13B-Instruct", 13_716_198_400),
        ("allenai/OLMo-2-0325-32B-Instruct", 32_234_279_936),
        ("openai/gpt-oss-20b", 20_914_757_184),
        ("openai/gpt-oss-120b", 116_829_156_672),
    ],
)
def test_the_known_models_have_their_published_number_of_weights(name: str, weights: int) -> None:
    config = known_config(name)
    assert config is not None
    assert architecture(config).parameters == weights


def test_the_builtin_model_is_as_it_is_built() -> None:
    from transformers import AutoConfig

    from hpclaunch.train import tiny_llama

    config = known_config("builtin:tiny-llama")
    assert config is not None
    built = AutoConfig.from_pretrained(str(tiny_llama.folder_of("builtin:tiny-llama"))).to_dict()
    assert architecture(built) == architecture(config)
