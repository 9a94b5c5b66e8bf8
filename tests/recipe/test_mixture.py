"""Several datasets in a recipe: what is refused, and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.dataset.check import check_data
from hpclaunch.dataset.count import count_samples
from hpclaunch.errors import UserError
from hpclaunch.fetch.wanted import of_recipe
from hpclaunch.forecast.hub_access import hub_datasets
from hpclaunch.launch.request import Changes
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.recipe.mixture import held_out, parts_of, samples_of
from hpclaunch.recipe.schema import Data, DataSource


def write(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_file(folder: Path, data: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\nmodel: {{name: 'builtin:tiny-llama'}}\ndata:\n{data}")
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write(tmp_path, "a.jsonl", *({"text": f"a {n}"} for n in range(10)))
    write(tmp_path, "b.jsonl", *({"prompt": f"b {n}", "completion": "yes"} for n in range(20)))
    return recipe_file(
        tmp_path,
        "  sources:\n    - {name: a.jsonl, weight: 3}\n"
        "    - {name: b.jsonl, format: prompt_completion, limit: 10, weight: 0.5}\n",
    )


def test_paths_count_from_the_recipes_folder_and_come_back(two: Path, tmp_path: Path) -> None:
    recipe = load(str(two))
    names = [source.name for source in recipe.data.sources]
    assert names == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert recipe.data.title == " + ".join(names)
    written = tmp_path / "written.yaml"
    written.write_text(to_yaml(recipe))
    assert load(str(written)) == recipe


def test_each_is_looked_at_by_its_own_format(two: Path, tmp_path: Path) -> None:
    recipe = load(str(two))
    a, b = (source.name for source in recipe.data.sources)
    assert f"data: 35 samples an epoch: {a} x 3: 30 (86%), {b} x 0.5: 5 (14%)" in check_data(recipe)
    assert count_samples(recipe.data) == 3 * 10 + 5
    write(tmp_path, "b.jsonl", {"prompt": "x", "completion": "y"}, {"prompt": "x"})
    with pytest.raises(UserError, match=r"b\.jsonl:2: the row has no 'completion'"):
        check_data(recipe)
    write(tmp_path, "b.jsonl", {"text": "x"})
    with pytest.raises(UserError, match=r"b\.jsonl:1 has the columns text; data\.format prompt"):
        check_data(recipe)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("  split: train\n", r"mine\.yaml:3: key 'data\.name' is missing"),
        ("  name: a.jsonl\n  sources: [{name: a.jsonl}]\n", "which to train on is not known"),
        ("  sources: [{name: a.jsonl}]\n  limit: 3\n", r":5: data\.limit beside data\.sources"),
        ("  sources: [{name: a.jsonl}]\n  validation_split: test\n", r"data\.validation_fraction"),
        ("  sources: [{name: a.jsonl, wieght: 2}]\n", r"unknown key 'data\.sources\.0\.wieght'"),
        ("  sources: [{name: gone.jsonl}]\n", r":4: dataset not found: .*gone\.jsonl"),
        ("  sources: [{weight: 2}]\n", r"key 'data\.sources\.0\.name' is missing"),
        ("  sources: [{name: a.jsonl, weight: 0}]\n", r"data\.sources\.0\.weight"),
        ("  sources: [{name: 'builtin:questions'}]\n", "no builtin dataset"),
        ("  name: a.jsonl\n  validation_fraction: 1\n", r"data\.validation_fraction: expected"),
        (
            "  name: a.jsonl\n  validation_fraction: 0.1\n  validation: a.jsonl\n",
            "both say what to validate on",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_place(
    data: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, "a.jsonl", {"text": "a"})
    with pytest.raises(UserError, match=message) as refused:
        load(str(recipe_file(tmp_path, data)))
    assert "\n" not in str(refused.value)


def test_another_dataset_takes_the_place_of_all(two: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "a.jsonl")
    recipe = load(str(two), (), Changes(dataset=file).flags())
    assert (recipe.data.name, recipe.data.sources) == (file, [])
    with pytest.raises(UserError, match=r"data\.sources=\[\]"):
        load(str(two), [f"data.name={file}"])


def test_those_of_the_hub_are_fetched_and_looked_for() -> None:
    sources = [DataSource(name="org/a", subset="main", revision="v1"), DataSource(name="org/b")]
    data = Data(sources=sources, validation="org/c")
    assert list(hub_datasets(data)) == ["org/a", "org/b", "org/c"]
    names = [(each.data.name, each.data.subset, each.weight) for each in parts_of(data)]
    assert names == [("org/a", "main", 1.0), ("org/b", None, 1.0)]
    made = load(
        "tiny",
        (),
        {"data.name": "", "data.validation_split": None, "data.sources": [{"name": "org/a"}]},
    )
    assert [each.name for each in of_recipe(made)] == ["org/a"]


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.01, 10)), min_size=1, max_size=4),
    st.one_of(st.none(), st.floats(0.01, 0.5)),
)
def test_samples_follow_weights_and_what_is_held_out(
    parts: list[tuple[int, float]], fraction: float | None
) -> None:
    sources = [DataSource(name=f"d/{n}", weight=weight) for n, (_, weight) in enumerate(parts)]
    data = Data(sources=sources, validation_fraction=fraction)
    samples = samples_of(data, [rows for rows, _ in parts])
    assert samples is not None
    kept = [(rows - held_out(data, rows), weight) for rows, weight in parts]
    assert abs(samples - sum(rows * weight for rows, weight in kept)) <= 1
    assert samples_of(data, [None] * len(parts)) is None
