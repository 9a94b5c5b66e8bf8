"""YAML to typed values: places, lines and words of complaints."""

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.document import convert, dump, parse, parse_value
from hpclaunch.errors import UserError, nearest


class Inner(msgspec.Struct, frozen=True):
    colour: str = "red"


class Outer(msgspec.Struct, frozen=True):
    inner: Inner = Inner()
    table: dict[str, Inner] = {}
    maybe: Inner | None = None


def test_every_key_and_item_knows_its_line() -> None:
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "f")
    assert document.where(("a", "b")) == "f:2"
    assert document.where(("a", "c", 1)) == "f:5"
    assert document.where(("a", "c", 1, "y")) == "f:5"
    assert document.where(("a", "nothing")) == "f:1", "the nearest that is there"
    assert document.where(("nothing",)) == "f"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("inner: {color: blue}", "f:1: unknown key 'inner.color'; did you mean 'colour'?"),
        ("table:\n  a:\n    color: x", "f:3: unknown key 'table.a.color'"),
        ("maybe:\n  color: x", "f:2: unknown key 'maybe.color'"),
        ("inner:\n  colour: 3", "f:2: inner.colour: expected `str`, got `int`"),
    ],
)
def test_unknown_keys_are_found_at_any_depth(text: str, place: str) -> None:
    with pytest.raises(UserError) as caught:
        convert(parse(text, "f"), Outer)
    assert str(caught.value).startswith(place)


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["1e-4", "3:00:00", "no", "~", "2026-01-31", "=", "<<", "0x_", "1_000", "#"]),
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), PLAIN))
def test_what_is_dumped_is_read_back(values: dict[str, object]) -> None:
    text = dump(values)
    assert parse(text, "f").data == values
    # Other programs, with YAML 1.1 in their bones, read the same file.
    assert yaml.safe_load(text) == values


@pytest.mark.parametrize("text", ["*x", "[", "{a", "a: b: c", "'", "!!bool perhaps"])
def test_on_the_command_line_what_is_no_yaml_is_a_text(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize("text", ["rows #3.jsonl", "#3.jsonl", "5 # five"])
def test_nothing_on_a_command_line_is_a_comment(text: str) -> None:
    assert parse_value(text) == text


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    error = UserError("no file 'a\nb\x1b[31m'", "try \udcff")
    assert str(error) == r"no file 'a\nb\x1b[31m'; try \udcff"


def test_nearest_lists_what_there_is_when_nothing_is_near() -> None:
    assert nearest("zzz", ["full", "lora"]) == "valid: full, lora"
    assert nearest("lroa", ["full", "lora"]) == "did you mean 'lora'?"
