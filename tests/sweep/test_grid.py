"""The values of a sweep on a command line, every combination of them, and the runs' names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import check_name
from hpclaunch.sweep.grid import (
    Parameter,
    points,
    read_parameters,
    run_names,
    split_values,
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,2e-4", ("1e-4", "2e-4")),
        ("1e-4", ("1e-4",)),
        ("[q_proj, v_proj],[k_proj]", ("[q_proj, v_proj]", "[k_proj]")),
        ('"a,b",c', ('"a,b"', "c")),
        ("train[:5%],train", ("train[:5%]", "train")),
        ("{a: [1, 2]},null", ("{a: [1, 2]}", "null")),
        ("1, 2", ("1", "2")),
    ],
)
def test_commas_in_brackets_and_quotes_stay(text: str, values: tuple[str, ...]) -> None:
    assert split_values(text) == values


def test_fixed_values_and_parameters_are_told_apart() -> None:
    fixed, parameters = read_parameters(
        ["training.max_steps=3", "method.lora.r=8,16", "training.learning_rate=1e-4,2e-4"]
    )
    assert fixed == ("training.max_steps=3",)
    assert [point.overrides for point in points(parameters)] == [
        ("method.lora.r=8", "training.learning_rate=1e-4"),
        ("method.lora.r=8", "training.learning_rate=2e-4"),
        ("method.lora.r=16", "training.learning_rate=1e-4"),
        ("method.lora.r=16", "training.learning_rate=2e-4"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.max_steps=3"], "a sweep needs a key with several values"),
        ([], "a sweep needs a key with several values"),
        (["training.learning_rate=1e-4,0.0001"], "1e-4 and 0.0001 are the same"),
        (["training.seed=1,1.0"], "1 and 1.0 are the same"),
        (["training.packing=true,True"], "true and True are the same"),
        (["training.seed=1,2", "training.seed=3"], "training.seed is given twice"),
        (["training.seed=1,,2"], "an empty value"),
        (["training.seed=1,"], "an empty value"),
        (["method.lora.target_modules=[a,b],[c"], "] is missing"),
        (
            [f"{key}={','.join(map(str, range(1, most)))}"
             for key, most in (("training.seed", 51), ("method.lora.r", 22))],
            "50 x 21 values are 1,050 runs, and a sweep has 1,000 at most",
        ),
    ],
)  # fmt: skip
def test_what_is_no_sweep_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_parameters(words)


def test_names_can_be_read_off_the_values() -> None:
    parameters = [
        Parameter("training.learning_rate", ("1e-4", "2e-4")),
        Parameter("method.lora.r", ("8",)),
    ]
    assert run_names("s", parameters) == ("s.learning_rate-1e-4.r-8", "s.learning_rate-2e-4.r-8")


def test_keys_with_the_same_end_are_told_apart() -> None:
    parameters = [Parameter("model.name", ("a",)), Parameter("data.name", ("b",))]
    assert run_names("s", parameters) == ("s.model.name-a.data.name-b",)


@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=12, unique=True))
def test_every_run_has_a_name_of_its_own_that_a_folder_can_have(values: list[str]) -> None:
    names = run_names("sweep-1", [Parameter("data.name", tuple(values))])
    assert len(set(names)) == len(values)
    for name in names:
        check_name(name)


@given(st.text(max_size=60))
def test_splitting_loses_nothing(text: str) -> None:
    try:
        values = split_values(text)
    except UserError:
        return
    assert split_values(",".join(values)) == values
    if not set(text) & set("[](){}'\""):
        assert values == tuple(value.strip() for value in text.split(","))
