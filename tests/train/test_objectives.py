"""An objective is a row in each of two tables; a recipe may name only those."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.global_batch import micro_batches
from hpclaunch.recipe.load import load
from hpclaunch.recipe.objective_fields import TEMPLATE_FIELDS
from hpclaunch.recipe.objectives import OBJECTIVES
from hpclaunch.recipe.schema import DEFAULT_OBJECTIVE, MethodKind, Objective
from hpclaunch.recipe.shapes import COLUMNS
from hpclaunch.recipe.training import config_fields
from hpclaunch.train.objectives import TRAINERS, config_class, trainer_class
from hpclaunch.train.trainer import CheckpointingTrainerMixin


@pytest.mark.parametrize("objective", get_args(Objective))
def test_each_objective_is_complete(objective: Objective) -> None:
    spec = OBJECTIVES[objective]
    assert spec.shapes and set(spec.shapes) <= COLUMNS.keys()
    assert list(spec.learning_rate) == list(get_args(MethodKind))
    assert TRAINERS[objective].config.endswith(f":{spec.config}")
    trainer = trainer_class(objective)
    checkpointing = trainer.__mro__.index(CheckpointingTrainerMixin)
    trl_classes = [at for at, each in enumerate(trainer.__mro__) if each.__module__[:3] == "trl"]
    assert checkpointing < trl_classes[0], "its _save_checkpoint comes first"
    fields = config_fields(objective).keys() - TEMPLATE_FIELDS.keys()
    assert fields <= config_class(objective).__dataclass_fields__.keys()
    assert spec.refused.keys() <= fields
    assert not spec.has_no.keys() & fields
    assert set(spec.losses_without_kl) <= set(spec.losses)
    precomputable = "precompute_ref_log_probs" in fields
    assert (
        (spec.reference == "precomputable")
        == precomputable
        == hasattr(trainer, "_precompute_ref_logps")
    )
    assert bool(getattr(trainer, "reference_columns", ())) == precomputable


def test_an_unknown_objective_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: x\nobjective: ppo\nmodel:\n  name: a/b\ndata:\n  name: c/d\ntraining:\n  beta: 0.1\n"
    )
    with pytest.raises(UserError, match=r"recipe\.yaml:2: .*objective"):
        load(str(path))


def test_a_recipe_that_names_none_has_the_default() -> None:
    assert load("tiny").objective == DEFAULT_OBJECTIVE


def test_the_place_of_before_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nobjective: kto\nmodel: {name: a/b}\ndata: {name: c/d}\n")
    assert load(str(path)).method.objective == "kto"
    assert load(str(path), ["method.objective=dpo"]).objective == "dpo"
    path.write_text(path.read_text() + "method: {objective: dpo}\n")
    with pytest.raises(UserError, match=r"recipe\.yaml:2: objective and method\.objective differ"):
        load(str(path))


@pytest.mark.parametrize(
    ("objective", "field", "said"),
    [
        ("sft", "beta=0.1", "is a field of TRL's DPOConfig, and objective sft has TRL's SFTConfig"),
        ("dpo", "loss_type=sigmod", "objective dpo has no loss 'sigmod'"),
        ("dpo", "loss_type=[ipo,x]", "objective dpo has no loss 'x'"),
        ("dpo", "sync_ref_model=true", "objective dpo does not take training.sync_ref_model"),
        ("kto", "per_device_train_batch_size=1", "no other sample of a micro-batch"),
        ("pretrain", "assistant_only_loss=true", "pretrain does not take"),
        ("reward", "packing=true", "is a field of TRL's SFTConfig"),
        ("dpo", "betta=1", "unknown key 'training.betta'"),
    ],
)
def test_a_field_that_an_objective_has_not_is_refused(
    objective: str, field: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: {name: a/b}\ndata: {name: c/d}\n")
    with pytest.raises(UserError, match=re.escape(said)):
        load(str(path), [f"method.objective={objective}", f"training.{field}"])


def test_kto_has_micro_batches_of_two_at_least(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: {name: a/b}\ndata: {name: c/d}\nmethod: {objective: kto}\n")
    assert load(str(path)).training["per_device_train_batch_size"] == 2
    recipe = load(str(path), ["training.global_batch=8"])
    assert micro_batches(recipe, 2) == [2, 4]
    with pytest.raises(UserError, match="needs micro-batches of at least 2"):
        micro_batches(recipe, 8)
