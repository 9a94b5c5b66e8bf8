"""Whatever stands in a recipe file: a Recipe comes of it, or one line that says what is wrong."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpclaunch.document import parse_value
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.training import OWNED, config_fields

FAST = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DEEP = "a: " + "[" * 50_000 + "]" * 50_000
MULTIPLYING = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def try_to_load(data: bytes, folder: Path) -> None:
    path = folder / "any.yaml"
    path.write_bytes(data)
    try:
        recipe = load(str(path))
    except UserError as error:
        assert "any.yaml" in str(error)
        assert str(error).isprintable(), "one line, fit for any terminal"
    else:
        assert isinstance(recipe, Recipe)


@given(data=st.binary(max_size=300))
@example(data=b"\xff\xfe\x00")
@example(data=b"a: \x00")
@example(data=b"")
@FAST
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    try_to_load(data, tmp_path)


@given(text=st.text(st.characters(codec="utf-8"), max_size=300))
@example(text="a: !!float ''")
@example(text="a: !!bool perhaps")
@example(text="a: !!timestamp soon")
@example(text="a: &x [*x]")
@example(text="&x {a: *x}")
@example(text="a: =\n<<: {b: c}")
@example(text="a: " + "9" * 6000)
@example(text="? [a]\n: b")
@example(text=DEEP)
@example(text="- " * 50_000)
@example(text=MULTIPLYING)
@FAST
def test_any_text(text: str, tmp_path: Path) -> None:
    try_to_load(text.encode(), tmp_path)


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("builtin:x")
)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner)
)
KNOWN = [
    "name",
    "dtype",
    "kind",
    "lora",
    "r",
    "format",
    "validation",
    "sharding",
    "keep",
    "wandb",
    "interval",
]
FIELDS = sorted(config_fields().keys() - OWNED.keys())[:20]
SECTION = st.dictionaries(st.sampled_from(KNOWN + FIELDS), ANY, max_size=4)
NEARLY = st.fixed_dictionaries(
    {"name": st.just("x"), "model": SECTION | ANY, "data": SECTION | ANY},
    optional=dict.fromkeys(("method", "fsdp", "training", "tracking", "monitoring"), SECTION | ANY),
)


@given(value=NEARLY)
@FAST
def test_any_values_where_values_belong(value: object, tmp_path: Path) -> None:
    try_to_load(yaml.safe_dump(value).encode(), tmp_path)


@given(text=st.text(max_size=60))
@example(text="[" * 50_000)
@example(text="*x")
@example(text="!!bool x")
@FAST
def test_any_override(text: str) -> None:
    parse_value(text)
    try:
        load("tiny", [f"training.run_name={text}"])
    except UserError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("name", ["nowhere.yaml", "./nowhere", ".", "a\0.yaml", "/" + "x" * 5000])
def test_a_file_that_cannot_be_read_is_said_so(name: str) -> None:
    with pytest.raises(UserError):
        load(name)
