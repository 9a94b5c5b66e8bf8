"""What a simulation without values has in place of what values decide, and of long loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.predict.shapes import SHAPES

pytestmark = pytest.mark.train


def test_experts_that_are_computed_one_by_one_get_as_many_tokens_each() -> None:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from hpclaunch.train.simulation.values import usual_values

    class Experts(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        num_experts, top_k = 3, 2

        def forward(self, tokens: Any) -> Any:
            chosen = torch.zeros((self.num_experts, self.top_k, len(tokens)), dtype=torch.long)
            sizes = []
            for expert in (chosen.sum((-1, -2)) > 0).nonzero():
                _, places = torch.where(chosen[expert[0]])
                sizes.append(len(tokens[places]))
            return sizes, chosen.sum((-1, -2)).tolist()

    model = torch.nn.Sequential(Experts())
    with FakeTensorMode(), usual_values(model):
        assert model(torch.empty(8, 4)) == ([6, 6, 6], [6, 5, 5])
    assert "forward" not in model[0].__dict__


def test_all_samples_are_whole_and_of_the_default_language() -> None:
    """What XLM's and X-MOD's own code asks of its tokens."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from hpclaunch.train.simulation.values import usual_values

    class XLMModel(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def forward(self, input_ids: Any) -> Any:
            return (input_ids != 0).sum(dim=1).max().item() <= input_ids.shape[1]

    class XmodOutput(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def forward(self, values: Any, languages: Any) -> Any:
            made, sizes = torch.zeros_like(values), []
            for number in range(3):
                chosen = languages == number
                sizes.append(len(values[chosen]))
                made[chosen] = values[chosen]
            return sizes

    class XmodModel(torch.nn.Sequential):  # type: ignore[misc]  # torch is untyped here
        config = SimpleNamespace(languages=["a", "b", "c"], default_language="b")

    model = torch.nn.ModuleList([XLMModel(), XmodModel(XmodOutput())])
    with FakeTensorMode(), usual_values(model):
        assert model[0](torch.ones((2, 5), dtype=torch.long)) is True
        assert model[1][0](torch.empty(4, 8), torch.ones(4)) == [0, 4, 0]


RWKV = {"model_type": "rwkv", "hidden_size": 16, "attention_hidden_size": 16, "vocab_size": 64,
        "intermediate_size": 16, "num_hidden_layers": 2}  # fmt: skip


def test_a_loop_over_tokens_is_folded_into_short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpclaunch.train.simulation import token_loops
    from hpclaunch.train.simulation.token_loops import folded

    monkeypatch.setattr(token_loops, "_PROBES", (4, 8))
    request = {
        "config": RWKV, "method": "lora", "sharding": "full", "micro_batch_size": 2,
        "seq_len": 3100, "mask": True,
    }  # fmt: skip
    short = folded(request, 2)
    assert (short["seq_len"], short["micro_batch_size"]) == (16, 414)
    llama = {**request, "config": {**SHAPES["small"], "num_hidden_layers": 1}}
    assert folded(llama, 1) == llama


def test_what_single_layers_have_otherwise_is_cut_with_them() -> None:
    """Gemma 4: each sixth layer has wider heads, by its number."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.simulation.few_layers import cut_config

    config = AutoConfig.for_model(
        "gemma4_text", hidden_size=16, intermediate_size=16, num_hidden_layers=12, vocab_size=64,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, vocab_size_per_layer_input=64,
        hidden_size_per_layer_input=8,
    )  # fmt: skip
    cut_config(config, 6)
    assert set(config.to_dict()["per_layer_config"]) == {"5"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert len(model.model.layers) == 6
