"""What a recipe alone says of how its weights are loaded."""

from __future__ import annotations

import pytest

from hpclaunch.errors import UserError
from hpclaunch.plan.layout import layout
from hpclaunch.recipe.load import load
from hpclaunch.recipe.loading import whole_because


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ([], None),
        (["method.kind=full"], None),
        (["fsdp.sharding=hybrid", "fsdp.offload=true"], None),
        (["method.lora.init_lora_weights=gaussian"], None),
        (["method.kind=full", "method.lora.use_dora=true"], None),
        (["fsdp.loading=whole"], "fsdp.loading is whole"),
        (["fsdp.sharding=none"], "sharding is none"),
        (["fsdp.version=1"], "FSDP 1"),
        (["fsdp.cpu_ram_efficient_loading=false"], "cpu_ram_efficient_loading is off"),
        (["method.lora.use_dora=true"], "use_dora"),
        (["performance.fp8=true", "method.kind=full", "model.dtype=bfloat16"], "performance.fp8"),
        (["performance.compile=true", "method.kind=full"], None),
        (["method.lora.init_lora_weights=pissa"], "pissa reads the base weights"),
        (["method.lora.trainable_token_indices=[1]"], None),
        (["method.lora.target_parameters=[a.b]"], "target_parameters"),
    ],
)
def test_why_a_recipes_model_is_loaded_whole(overrides: list[str], reason: str | None) -> None:
    found = whole_because(load("tiny", overrides))
    assert found is None if reason is None else reason in (found or "")


def test_sharded_loading_that_cannot_be_is_refused_before_submission() -> None:
    recipe = load("tiny", ["fsdp.loading=sharded", "method.lora.init_lora_weights=pissa"])
    with pytest.raises(UserError, match=r"fsdp\.loading=sharded: .*pissa"):
        layout(recipe, 1, 2, "gpu")
    assert layout(recipe, 1, 2, "gpu", own_program=True).shards == 2
