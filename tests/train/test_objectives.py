"""An objective is an entry in each of a few tables; a recipe may name only those."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, MethodKind, Objective
from hpclaunch.recipe.shapes import SHAPES
from hpclaunch.recipe.training import LEARNING_RATE, config_fields
from hpclaunch.train.objectives import config_class, trainer_class
from hpclaunch.train.settings import OBJECTIVE_DEFAULTS
from hpclaunch.train.trainer import CheckpointingTrainerMixin


@pytest.mark.parametrize("objective", get_args(Objective))
def test_each_objective_is_complete(objective: Objective) -> None:
    assert SHAPES[objective]
    assert LEARNING_RATE[objective].keys() == set(get_args(MethodKind))
    assert objective in OBJECTIVE_DEFAULTS
    trainer = trainer_class(objective)
    checkpointing = trainer.__mro__.index(CheckpointingTrainerMixin)
    trl_classes = [at for at, each in enumerate(trainer.__mro__) if each.__module__[:3] == "trl"]
    assert checkpointing < trl_classes[0], "its _save_checkpoint comes first"
    assert config_fields(objective).keys() <= config_class(objective).__dataclass_fields__.keys()


def test_an_unknown_objective_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: x\nobjective: dpo\nmodel:\n  name: a/b\ndata:\n  name: c/d\ntraining:\n  beta: 0.1\n"
    )
    with pytest.raises(UserError, match=r"recipe\.yaml:2: .*objective"):
        load(str(path))


def test_a_recipe_that_names_none_has_the_default() -> None:
    assert load("tiny").objective == DEFAULT_OBJECTIVE
