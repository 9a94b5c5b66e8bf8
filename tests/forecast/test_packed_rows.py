"""Steps of packed data are counted in rows, and what that rests on is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.forecast.packed_rows import NOT_COUNTED, rows_of
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import load_site

SAMPLES = 1000


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "short.jsonl"
    row = json.dumps({"text": "x" * 438})  # 450 bytes with the line's end: 100 tokens
    file.write_text((row + "\n") * SAMPLES, "utf-8")
    return load("llama3.1-8b-lora", [f"data.name={file}", "training.max_length=2048"])


def changed(recipe: Recipe, **training: object) -> Recipe:
    from msgspec.structs import replace

    return replace(recipe, training={**recipe.training, **training})


def test_short_samples_fill_few_rows(recipe: Recipe) -> None:
    from msgspec.structs import replace

    number, assumed = rows_of(recipe, SAMPLES)
    assert number is not None
    assert 48 <= number <= 52
    assert assumed is not None
    assert "1,000 samples are packed into" in assumed
    half = replace(recipe, data=replace(recipe.data, limit=SAMPLES // 2))
    assert rows_of(half, SAMPLES).number == pytest.approx(number / 2, abs=1)


def test_long_samples_and_unpacked_ones_are_rows(recipe: Recipe) -> None:
    assert rows_of(changed(recipe, packing=False), SAMPLES) == (SAMPLES, None)
    assert rows_of(changed(recipe, max_length=64), SAMPLES).number == SAMPLES, "each is cut"


def test_what_is_not_known_is_not_guessed(recipe: Recipe) -> None:
    from msgspec.structs import replace

    hub = replace(recipe, data=replace(recipe.data, name="owner/data", limit=200))
    assert rows_of(hub, None) == (200, NOT_COUNTED)
    assert rows_of(replace(hub, data=replace(hub.data, limit=None)), None) == (None, None)


def test_the_plan_counts_steps_of_packed_rows(recipe: Recipe) -> None:
    def steps(of: Recipe) -> tuple[int | None, str]:
        made = forecast(
            PredictionRequest(of, load_site("generic"), 1, 1, "h200"), {}, ask_hub=False
        )
        return made.estimate.steps, " ".join(made.basis.assumed)

    packed, words = steps(recipe)
    plain, silent = steps(changed(recipe, packing=False))
    assert packed is not None
    assert plain is not None
    assert packed < plain / 15
    assert "packed into" in words
    assert "packed into" not in silent
    assert "packed into" not in steps(changed(recipe, max_steps=10))[1]
