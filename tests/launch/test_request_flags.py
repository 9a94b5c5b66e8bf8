"""Flags beside overrides: nothing that a user typed is dropped."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Changes, Request


def test_overrides_beside_a_dataset_stay(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n')
    words = ("data.split=train[:50%]", "data.limit=3", f"data.validation={file}")
    changes = Changes(dataset=str(file), model="org/name")
    request = Request(mode="local", recipe="tiny", overrides=words, changes=changes)
    recipe = draft(request).plan.recipe
    assert (recipe.data.split, recipe.data.limit) == ("train[:50%]", 3)
    assert recipe.data.validation == str(file)
    assert recipe.data.validation_split is None, "that of the recipe's own data"
    revised = Request(
        mode="local", recipe="tiny", overrides=("model.revision=v2",), changes=changes
    )
    assert draft(revised).plan.recipe.model.revision == "v2"
