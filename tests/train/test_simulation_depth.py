"""Which few layers of a model stand for all of them, and what follows for the whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.train.simulation.depth import Cut, Parts, cut_of, highest


@pytest.mark.parametrize(
    ("kinds", "few", "more"),
    [
        ("a" * 80, 4, 6),
        ("ab" * 16, 4, 6),
        ("sssssf" * 8 + "ss", 14, 20),
        ("ddd" + "m" * 58, 7, 9),
        ("lllf" * 12, 8, 12),
    ],
    ids=["llama", "alternating", "gemma 3", "first ones dense", "one in four"],
)
def test_few_layers_end_as_the_model_does(kinds: str, few: int, more: int) -> None:
    cut = cut_of(kinds)
    assert cut is not None
    assert (cut.few, cut.more) == (few, more)


@pytest.mark.parametrize("kinds", ["aaaa", "a" * 6, "abcdefghijklmnopqrstuvwxyz", ""])
def test_a_small_or_irregular_model_is_simulated_whole(kinds: str) -> None:
    assert cut_of(kinds) is None


@given(st.text("abc", max_size=3), st.text("abc", min_size=1, max_size=4), st.integers(0, 70))
def test_a_cut_has_the_front_and_the_back_of_the_model(
    prefix: str, period: str, depth: int
) -> None:
    kinds = (prefix + period * 80)[: depth + len(prefix)]
    cut = cut_of(kinds)
    if cut is None:
        return
    assert cut.first + cut.last <= cut.few < cut.more < len(kinds)
    for layers in (cut.few, cut.more):
        left = kinds[:layers]
        assert left[-cut.last :] == kinds[-cut.last :]
        assert cut.phase("forward", 0, layers) == "forward 0"
        assert cut.phase("forward", layers - 1, layers) == "forward -1"


def peaks(layers: int) -> dict[str, Parts]:
    """Return the peaks of a made-up model: its head is highest at first, its layers later."""
    return {
        "head": {"Total": 100.0 + layers, "Activation": float(layers)},
        "backward 0": {"Total": 20.0 + 5 * layers, "Activation": 5.0 * layers},
    }


@pytest.mark.parametrize("depth", [10, 80])
def test_the_highest_phase_of_a_deep_model_may_be_another(depth: int) -> None:
    cut = Cut(4, 6, 2, 2)
    found = highest(peaks(4), peaks(6), cut, depth)
    whole: Sequence[Parts] = list(peaks(depth).values())
    assert found == max(whole, key=lambda parts: parts["Total"])
