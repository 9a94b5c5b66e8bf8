"""Numbers of a training that cannot be are refused where the recipe is read."""

from __future__ import annotations

from typing import get_args

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.choices import OPEN, field_choices
from hpclaunch.recipe.load import load
from hpclaunch.recipe.objectives import OBJECTIVES
from hpclaunch.recipe.ranges import RANGES
from hpclaunch.recipe.schema import Objective
from hpclaunch.recipe.training import DEFAULTS, OWN_FIELDS, OWNED, config_fields


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.learning_rate=-1e-4", "-0.0001 cannot be; more than 0"),
        ("training.learning_rate=0", "more than 0"),
        ("training.learning_rate=.inf", "more than 0"),
        ("training.learning_rate=2e+5", "more than 0 to 100"),
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


def test_all_fields_of_numbers_have_a_range_and_no_others() -> None:
    """A field that a later TRL brings is looked at, and put into the table."""
    fields: dict[str, list[str]] = {}
    for objective in get_args(Objective):
        refused = {*OWNED, *OBJECTIVES[objective].refused}
        fields |= {f: k for f, k in config_fields(objective).items() if f not in refused}
    assert RANGES.keys() <= fields.keys() | OWN_FIELDS.keys()
    assert {f for f, kinds in fields.items() if {"int", "float"} & set(kinds)} <= RANGES.keys()
    for key, value in DEFAULTS.items():
        if key in RANGES:
            assert RANGES[key].holds(value)


@pytest.mark.parametrize(
    ("recipe", "field", "word", "right"),
    [
        ("tiny", "lr_scheduler_type", "cosin", "did you mean 'cosine'"),
        ("tiny", "optim", "adamw_torch_fuse", "did you mean 'adamw_torch_fused'"),
        ("tiny", "eval_strategy", "always", "valid: epoch, no, steps"),
        ("tiny", "packing_strategy", "ffd", "did you mean 'bfd'"),
        ("tiny", "truncation_mode", "middle", "valid: keep_end, keep_start"),
        ("tiny", "loss_type", "nl", "did you mean 'nll'"),
        ("tiny", "loss_type", "focal", "valid: chunked_nll, dft, nll"),
        ("tiny", "train_sampling_strategy", "by_length", "did you mean 'group_by_length'"),
        ("tiny", "log_level", "loud", "valid: critical, debug"),
        ("tiny", "include_for_metrics", "[loss, inputz]", "did you mean 'inputs'"),
        ("tiny", "pad_to_multiple_of", "eight", "valid: auto"),
        ("tiny", "pad_to_multiple_of", "0", "1 to 16777216"),
        ("tiny", "debug", "underflow_overflow tpu", "valid: tpu_metrics_debug"),
        ("dpo", "f_divergence_type", "kl", "valid: alpha_divergence"),
        ("dpo", "label_smoothing", "0.7", "0 to 0.5"),
        ("kto", "loss_type", "sigmoid", "valid: apo_zero_unpaired, kto"),
        ("dpo", "loss_weights", "[1, .inf]", "each must be a finite number"),
        ("grpo", "vespo_k_pos", "-1", "at least 0"),
        ("grpo", "vespo_lambda_neg", "0", "at least 0.0001"),
        ("grpo", "scale_rewards", "batches", "did you mean 'batch'"),
        ("grpo", "importance_sampling_level", "tokens", "did you mean 'token'"),
    ],
)
def test_a_word_that_the_trainer_does_not_know_is_refused(
    recipe: str, field: str, word: str, right: str
) -> None:
    """It would refuse it only in the job, or take a wrong one for the default."""
    with pytest.raises(UserError, match=r"cannot be|has no loss") as caught:
        load(recipe, [f"training.{field}={word}"])
    assert right in str(caught.value)


def test_every_field_of_text_takes_listed_words_or_any_text() -> None:
    """A field that a later TRL brings is looked at, and put into one of the lists."""
    for objective, spec in OBJECTIVES.items():
        texts = {
            field
            for field, kinds in config_fields(objective).items()
            if {"str", "list"} & set(kinds) and field not in {*OWNED, *spec.refused}
        }
        closed = {*field_choices(), *({"loss_type"} if spec.losses else ())}
        lists = {"loss_weights", "reward_weights"}
        assert texts <= closed | OPEN | lists, texts - closed - OPEN - lists
        assert not closed & OPEN
