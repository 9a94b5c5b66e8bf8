"""Numbers of a training that cannot be are refused where the recipe is read."""

from __future__ import annotations

from typing import get_args

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.ranges import RANGES
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.training import DEFAULTS, OWN_FIELDS, config_fields


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.learning_rate=-1e-4", "-0.0001 cannot be; more than 0"),
        ("training.learning_rate=0", "more than 0"),
        ("training.learning_rate=.inf", "more than 0"),
        ("training.per_device_train_batch_size=0", "1 to 65536"),
        ("training.max_steps=0", "1 to 1000000000, or -1"),
        ("training.adam_beta1=1.5", "0 to 1"),
        ("training.seed=-1", "0 to 4294967295"),
        ("training.max_length=-5", "1 to 16777216"),
    ],
)
def test_what_cannot_be(word: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load("tiny", (word,))
    assert said in str(caught.value)
    assert word.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    "word",
    ["training.max_steps=-1", "training.max_length=null", "training.warmup_steps=0.1",
     "training.weight_decay=0", "training.learning_rate=1"],
)  # fmt: skip
def test_what_can_be(word: str) -> None:
    load("tiny", (word,))


def test_only_fields_that_there_are_have_a_range() -> None:
    fields = {field for objective in get_args(Objective) for field in config_fields(objective)}
    assert RANGES.keys() <= fields | OWN_FIELDS.keys()
    for key, value in DEFAULTS.items():
        if key in RANGES:
            assert RANGES[key].holds(value)


@pytest.mark.parametrize(
    ("field", "word", "right"),
    [
        ("lr_scheduler_type", "cosin", "did you mean 'cosine'"),
        ("optim", "adamw_torch_fuse", "did you mean 'adamw_torch_fused'"),
        ("eval_strategy", "always", "valid: epoch, no, steps"),
        ("packing_strategy", "ffd", "did you mean 'bfd'"),
        ("truncation_mode", "middle", "valid: keep_end, keep_start"),
    ],
)
def test_a_word_that_transformers_does_not_know_is_refused(
    field: str, word: str, right: str
) -> None:
    """It would refuse it only in the job, or take a wrong one for the default."""
    with pytest.raises(UserError, match="cannot be") as caught:
        load("tiny", [f"training.{field}={word}"])
    assert right in str(caught.value)
