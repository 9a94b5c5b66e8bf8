"""Paths in recipes: those of a file count from its folder, those typed from the current one."""

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.paths import is_local

KEYS = ("model.name", "data.name", "data.validation", "training.chat_template_path")


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A recipe's folder and the current one, each with a file of every kind."""
    folders = tmp_path / "recipes", tmp_path / "here"
    for folder in folders:
        folder.mkdir()
        for name in ("rows.jsonl", "chat.jinja", "weights.json"):
            (folder / name).touch()
        (folder / "rows of mine").mkdir()
    monkeypatch.chdir(folders[1])
    return folders


def write(folder: Path, key: str, value: str) -> str:
    values = {"model.name": "a/b", "data.name": "c/d", key: value}
    text = "name: mine\n"
    for section in ("model", "data", "training"):
        inner = {k.split(".")[1]: v for k, v in values.items() if k.startswith(section)}
        text += f"{section}: {inner}\n" if inner else ""
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def value_of(recipe: object, key: str) -> object:
    section, _, name = key.partition(".")
    values = getattr(recipe, section)
    return values[name] if isinstance(values, dict) else getattr(values, name)


@pytest.mark.parametrize("name", ["rows.jsonl", "./rows.jsonl", "../recipes/chat.jinja"])
@pytest.mark.parametrize("key", KEYS)
def test_in_a_file_they_count_from_its_folder(two: tuple[Path, Path], key: str, name: str) -> None:
    there = two[0]
    recipe = load(write(there, key, name))
    assert value_of(recipe, key) == str((there / name).resolve())


@pytest.mark.parametrize("key", KEYS)
def test_typed_they_count_from_here(two: tuple[Path, Path], key: str) -> None:
    there, here = two
    recipe = load(write(there, key, "./rows.jsonl"), [f"{key}=./rows.jsonl"])
    assert value_of(recipe, key) == str(here / "rows.jsonl")
    packaged = load("tiny", [f"{key}=./rows.jsonl"])
    assert value_of(packaged, key) == str(here / "rows.jsonl")


@pytest.mark.parametrize("key", KEYS)
def test_home_is_understood(
    two: tuple[Path, Path], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(two[0]))
    assert value_of(load("tiny", [f"{key}=~/rows.jsonl"]), key) == str(two[0] / "rows.jsonl")


@pytest.mark.parametrize("key", KEYS)
def test_what_is_not_there_is_refused_in_a_line(two: tuple[Path, Path], key: str) -> None:
    path = write(two[0], key, "./missing.jsonl")
    with pytest.raises(UserError) as caught:
        load(path)
    line = str(caught.value)
    assert f"not found: {two[0]}/missing.jsonl" in line
    assert line.startswith(f"{path}:"), "with the line of the file"
    assert line.isprintable()
    with pytest.raises(UserError, match=r"command line: .* not found: .*/here/missing.jsonl"):
        load("tiny", [f"{key}=./missing.jsonl"])


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "/" + "long" * 2000, "a\0b", "./\0"])
@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_path_is_refused_too(two: tuple[Path, Path], key: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        load("tiny", flags={key: name})
    assert str(caught.value).startswith("command line: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("https://user:KEY@example.com/rows.jsonl", "download it"),
        ("s3://bucket/rows.jsonl", "download it"),
        ("hf://datasets/owner/name", "owner/name"),
    ],
)
def test_an_address_is_no_path(key: str, address: str, fix: str) -> None:
    with pytest.raises(UserError, match=rf"an address \(.*is not read; .*{fix}") as caught:
        load("tiny", [f"{key}={address}"])
    assert "KEY" not in str(caught.value)


def test_links_in_a_circle_are_no_path(two: tuple[Path, Path]) -> None:
    circle = two[1] / "circle.jsonl"
    circle.symlink_to(circle)
    with pytest.raises(UserError):
        load("tiny", ["data.name=circle.jsonl"])


def test_an_empty_name_is_not_the_current_folder() -> None:
    for key in ("model.name", "data.name"):
        with pytest.raises(UserError, match=key):
            load("tiny", flags={key: ""})


@pytest.mark.parametrize(
    "name", ["gpt2", "owner/name", "owner/name-1.5_b", "builtin:cluster-questions", "owner/data.v2"]
)
def test_hub_ids_are_left_alone(two: tuple[Path, Path], name: str) -> None:
    assert not is_local(name)
    assert load("tiny", [f"data.name={name}"]).data.name == name


@pytest.mark.parametrize(
    "name", ["/x", "./x", "../x", "~/x", "x.jsonl", "a/x.parquet", "a/b/c", "my data", "t.jinja"]
)
def test_paths_are_told_from_hub_ids(name: str) -> None:
    assert is_local(name)
