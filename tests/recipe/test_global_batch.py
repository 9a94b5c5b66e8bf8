"""`training.global_batch`: a step has the same rows on any number of ranks, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.recipe.global_batch import ACCUMULATION, BATCH, differs, divide, micro_batches
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.recipe.schema import Recipe

WHOLE, PER_DEVICE = "training.global_batch", f"training.{BATCH}"
STEPS = f"training.{ACCUMULATION}"


def recipe(*words: str) -> Recipe:
    return load("llama3-8b-lora", words)


@given(st.integers(1, 4096), st.integers(1, 600))
def test_the_rows_of_a_step_do_not_change_with_the_ranks(whole: int, ranks: int) -> None:
    asked = recipe(f"{WHOLE}={whole}")
    if whole % ranks:
        with pytest.raises(UserError, match=f"{whole} cannot be divided over {ranks} ranks") as no:
            divide(asked, ranks)
        offered = [int(word) for word in no.value.fix.split(";")[0].split("=")[1].split(" or ")]
        assert offered
        for other in offered:
            assert abs(other - whole) < ranks
            divide(recipe(f"{WHOLE}={other}"), ranks)
        return
    for size in micro_batches(asked, ranks):
        made = divide(asked, ranks, size)
        assert made.training[BATCH] * made.training[ACCUMULATION] * ranks == whole
        assert differs(made, ranks) is None


@pytest.mark.parametrize(
    ("words", "ranks", "batch", "steps"),
    [
        ([f"{WHOLE}=32"], 4, 1, 8),
        ([f"{WHOLE}=32", "training.max_length=512"], 4, 4, 2),
        ([f"{WHOLE}=32", f"{PER_DEVICE}=2"], 4, 2, 4),
        ([f"{WHOLE}=32", f"{STEPS}=2"], 4, 4, 2),
        ([f"{WHOLE}=32", f"{PER_DEVICE}=2", f"{STEPS}=8"], 4, 2, 8),
    ],
    ids=("long rows", "short rows", "batch set", "accumulation set", "both set"),
)
def test_what_is_set_wins(words: list[str], ranks: int, batch: int, steps: int) -> None:
    made = divide(recipe(*words), ranks)
    assert (made.training[BATCH], made.training[ACCUMULATION]) == (batch, steps)


def test_both_set_may_differ_from_the_global_batch_and_are_then_named() -> None:
    made = recipe(f"{WHOLE}=32", f"{PER_DEVICE}=2", f"{STEPS}=8")
    assert differs(made, 2) is None
    assert differs(made, 4) == 64


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([f"{WHOLE}=32", f"{PER_DEVICE}=3"], "24 or 36"),
        ([f"{WHOLE}=8", f"{STEPS}=3"], "=12"),
    ],
)
def test_a_value_that_does_not_divide_is_refused_with_the_nearest(
    words: list[str], fix: str
) -> None:
    with pytest.raises(UserError) as no:
        divide(recipe(*words), 4)
    assert fix in no.value.fix


def test_ranks_that_divide_are_offered() -> None:
    with pytest.raises(UserError) as no:
        divide(recipe(f"{WHOLE}=32"), 12)
    assert "8 or 16 ranks" in no.value.fix


@pytest.mark.parametrize(("ranks", "fix"), [(24, "=48; or take 16 ranks"), (64, "=128; or")])
def test_what_is_offered_holds_the_smallest_micro_batch(ranks: int, fix: str) -> None:
    """KTO takes two rows at least."""
    with pytest.raises(UserError) as no:
        divide(recipe(f"{WHOLE}=32", "method.objective=kto"), ranks)
    assert fix in no.value.fix


@pytest.mark.parametrize("value", [0, -4, 2.5, "32 rows", True])
def test_only_a_count_is_a_batch(value: object) -> None:
    with pytest.raises(UserError, match="global_batch"):
        recipe(f"{WHOLE}={value}".lower())


def test_another_number_of_ranks_divides_a_run_s_recipe_anew(tmp_path: Path) -> None:
    """As `resume` does: the run's own file names what followed."""
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(divide(recipe(f"{WHOLE}=32"), 8, 2)), "utf-8")
    kept = load(str(path))
    assert (kept.training[BATCH], kept.training[ACCUMULATION]) == (2, 2)
    assert divide(kept, 2, 2).training[ACCUMULATION] == 8
    typed = load(str(path), [f"{PER_DEVICE}=4"])
    assert divide(typed, 2).training[ACCUMULATION] == 4
    assert divide(load(str(path), [f"{WHOLE}=64"]), 8, 2).training[ACCUMULATION] == 4


def test_without_one_nothing_is_written_of_it(tmp_path: Path) -> None:
    assert "global_batch" not in to_yaml(load("tiny"))
    assert "global_batch" not in to_yaml(recipe(f"{WHOLE}=null"))
