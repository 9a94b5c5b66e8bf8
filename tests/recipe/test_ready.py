"""The recipes that come with the package: every one loads, and survives being written down."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import GATED_OWNERS
from hpclaunch.predict.families import architecture
from hpclaunch.predict.known_models import known_config
from hpclaunch.recipe import library
from hpclaunch.recipe.families import METHODS, PublishedModel, published_models
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, Recipe

NAMES = library.names()


def reloaded(recipe: Recipe, folder: Path) -> Recipe:
    path = folder / "written.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    return load(str(path))


def test_the_defaults_are_among_them() -> None:
    assert {library.DEFAULT, library.TINY} <= set(NAMES)
    for size in ("8b", "70b"):
        for kind in ("full", "lora", "qlora"):
            assert f"llama3-{size}-{kind}" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_what_its_name_says(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert recipe.description
    for model in published_models():
        if name in model.recipes:
            assert recipe.method.kind == name.rpartition("-")[2]
            assert recipe.model.name == model.hub
            assert recipe.model.gated == model.gated
            assert recipe.description.startswith(model.title)
            return
    words = name.split("-")
    assert recipe.objective in (*words, DEFAULT_OBJECTIVE)
    assert recipe.method.kind in words or words[-1] not in METHODS


@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_each_model_is_known_without_the_hub(model: PublishedModel) -> None:
    config = known_config(model.hub)
    assert config is not None
    parameters = architecture(config, model.hub).parameters / 1e9
    assert parameters == pytest.approx(model.billions, rel=0.1), "what its batches are chosen by"
    assert model.gated or not model.hub.startswith(GATED_OWNERS)
    assert ("num_experts" in config) == model.experts == (f"{model.name}-qlora" not in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_written_down_it_is_the_same(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    assert reloaded(recipe, tmp_path) == recipe


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'llama3-70b-lora'"):
        load("llama3-70b-loar")


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_an_adapter_learns_faster_than_the_weights(kind: str) -> None:
    rate = load("tiny", ["training.learning_rate=1"]).training["learning_rate"]
    assert rate == 1, "the user's own value wins"
    rates = {"full": 2e-5, "lora": 1e-4, "qlora": 2e-4}
    assert load(f"llama3-8b-{kind}").training["learning_rate"] == rates[kind]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "training.learning_rate": st.floats(1e-12, 10),
        "training.seed": st.integers(0, 2**32 - 1),
        "training.run_name": WORDS,
        "training.lr_scheduler_kwargs": st.dictionaries(
            WORDS, st.one_of(WORDS, st.integers(), st.booleans(), st.none(), st.floats(0, 1e30))
        ),
        "model.revision": WORDS,
        "data.limit": st.integers(1, 10**9),
        "data.split": WORDS,
        "data.special_tokens": st.lists(WORDS),
        "method.lora.lora_dropout": st.floats(0, 1, exclude_max=True),
        "method.lora.target_modules": st.one_of(WORDS, st.lists(WORDS)),
        "method.lora.rank_pattern": st.dictionaries(WORDS, st.integers(1, 512)),
        "tracking.wandb.project": WORDS,
    },
)


@given(values=VALUES)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_value_survives_being_written_down(values: dict[str, object], tmp_path: Path) -> None:
    recipe = load("tiny", flags=values)
    assert reloaded(recipe, tmp_path) == recipe


@pytest.mark.parametrize("text", ["1e-4", "3:00:00", "2026-01-31", "yes", "null", "007", "0x1F"])
def test_a_text_that_looks_like_something_else_stays_a_text(text: str, tmp_path: Path) -> None:
    recipe = load("tiny", flags={"training.run_name": text})
    assert reloaded(recipe, tmp_path).training["run_name"] == text
