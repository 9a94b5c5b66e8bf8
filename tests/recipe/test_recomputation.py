"""Activation checkpointing by level and by TRL's field: in agreement, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load, to_yaml

FIELD, LEVEL = "training.gradient_checkpointing", "performance.activation_checkpointing"
RECIPE = "llama3.1-8b-lora"


@pytest.mark.parametrize(
    ("words", "level", "whole"),
    [
        ([], "auto", True),
        ([f"{LEVEL}=none"], "none", False),
        ([f"{LEVEL}=mlp"], "mlp", False),
        ([f"{LEVEL}=whole"], "whole", True),
        ([f"{FIELD}=false"], "none", False),
        ([f"{FIELD}=true"], "whole", True),
        ([f"{FIELD}=false", f"{LEVEL}=mlp"], "mlp", False),
    ],
)
def test_level_and_field_agree_also_once_written(
    words: list[str], level: str, whole: bool, tmp_path: Path
) -> None:
    recipe = load(RECIPE, words)
    assert recipe.performance.activation_checkpointing == level
    assert recipe.training["gradient_checkpointing"] is whole
    (tmp_path / "r.yaml").write_text(to_yaml(recipe), "utf-8")
    assert load(str(tmp_path / "r.yaml")) == recipe


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([f"{FIELD}=true", f"{LEVEL}=none"], "contradict"),
        ([f"{FIELD}=false", f"{LEVEL}=whole"], "contradict"),
        ([f"{LEVEL}=mlp", "method.kind=full"], "needs fused LoRA layers"),
        ([f"{LEVEL}=mlp", "performance.fused_lora=false"], "needs fused LoRA layers"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        load(RECIPE, words)


def test_an_own_program_keeps_what_it_was_given(tmp_path: Path) -> None:
    for words, on in (([], False), ([f"{FIELD}=true"], True)):
        recipe = load(RECIPE, words, own_program=True)
        assert recipe.training["gradient_checkpointing"] is on
        (tmp_path / "r.yaml").write_text(to_yaml(recipe), "utf-8")
        assert load(str(tmp_path / "r.yaml"), own_program=True) == recipe


@pytest.mark.parametrize(
    ("word", "level"),
    [(f"{FIELD}=true", "whole"), (f"{FIELD}=false", "none"), (f"{LEVEL}=whole", "whole")],
)
def test_the_command_line_overrides_what_a_run_was_given(
    word: str, level: str, tmp_path: Path
) -> None:
    """As `resume` does with a run's own recipe, in which both are written."""
    (tmp_path / "r.yaml").write_text(to_yaml(load(RECIPE, [f"{LEVEL}=mlp"])), "utf-8")
    recipe = load(str(tmp_path / "r.yaml"), [word])
    assert recipe.performance.activation_checkpointing == level
    assert recipe.training["gradient_checkpointing"] is (level == "whole")
