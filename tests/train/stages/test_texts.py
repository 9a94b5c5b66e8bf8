"""Texts that a model is measured and calibrated with: of every dataset that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpclaunch.recipe.load import load
from hpclaunch.train.stages.texts import texts

pytestmark = pytest.mark.train


def test_each_of_several_datasets_has_its_share(tmp_path: Path) -> None:
    for name in ("a", "b", "held-out"):
        rows = (json.dumps({"text": f"{name} {n}"}) + "\n" for n in range(10))
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    sources = json.dumps([{"name": str(tmp_path / f"{name}.jsonl")} for name in ("a", "b")])
    words = [f"data.sources={sources}", "data.validation_split=null", "data.name=null"]
    recipe = load("tiny", words)
    plain = SimpleNamespace(chat_template=None)
    assert texts(recipe, plain, 5, validation=False) == ["a 0", "a 1", "a 2", "b 0", "b 1"]
    named = load("tiny", [*words, f"data.validation={tmp_path / 'held-out.jsonl'}"])
    assert texts(named, plain, 2, validation=True) == ["held-out 0", "held-out 1"]
