"""What is held for each optimizer, by PyTorch's and bitsandbytes' own state."""

from __future__ import annotations

import pytest

from hpclaunch.predict.optimizer import optimizer_of, unknown_optimizer
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe


def with_optimizer(name: str, method: str = "lora") -> Recipe:
    return load("llama3-8b-lora", (f"training.optim={name}",), {"method.kind": method})


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("adamw_torch", 8), ("adamw_torch_fused", 8), ("adamw_8bit", 2.03), ("lion_32bit", 4),
        ("lion_8bit", 1.016), ("sgd", 0), ("adagrad", 4), ("rmsprop", 4), ("ademamix", 12),
    ],
)  # fmt: skip
def test_bytes_of_state(name: str, bytes_: float) -> None:
    found = optimizer_of(with_optimizer(name))
    assert found.known
    assert found.state_bytes == pytest.approx(bytes_, rel=0.01)
    assert unknown_optimizer(with_optimizer(name)) is None


def test_adafactor_holds_next_to_nothing() -> None:
    assert optimizer_of(with_optimizer("adafactor", "full")).state_bytes < 0.02
    assert optimizer_of(with_optimizer("adafactor")).state_bytes < 0.5


@pytest.mark.parametrize("name", ["galore_adamw", "lomo", "schedule_free_adamw", "apollo_adamw"])
def test_what_is_not_known_is_said(name: str) -> None:
    assert not optimizer_of(with_optimizer(name)).known
    assert name in (unknown_optimizer(with_optimizer(name)) or "")
