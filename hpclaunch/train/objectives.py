"""The objectives' trainers, a row each: TRL's classes, and what its trainer takes of a row.

What needs no torch is in `hpclaunch.recipe.objectives`. Where TRL's trainer takes rows that are
tokenized already, its name is enough; else it is a class over TRL's in a module of its own, as
`hpclaunch.train.kto_trainer`. TRL's experimental ones are in `trl.experimental.NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any, NamedTuple

from hpclaunch.chat.tokens import LossOptions, Tokenizer
from hpclaunch.recipe.schema import Objective
from hpclaunch.train import columns
from hpclaunch.train.objective_settings import grpo_settings, no_settings, sft_settings


class ObjectiveTrainer(NamedTuple):
    """How an objective is trained."""

    config: str
    """TRL's class of training arguments, `module:name`."""
    trainer: str
    """TRL's trainer, or a `CheckpointingTrainerMixin` over it, `module:name`."""
    columns: Callable[[Mapping[str, Any], Tokenizer, LossOptions], columns.Columns]
    """Returns a converted row as the trainer's columns, with `SPANS`. Raises RowProblem."""
    settings: Callable[..., dict[str, Any]] = no_settings
    """Returns what its config gets beside what those of all objectives share."""
    reference_columns: tuple[str, ...] = ()
    """Of TRL's trainer itself, where it compares with a reference model: the columns that it reads
    instead of running that."""


_SFT = ObjectiveTrainer("trl:SFTConfig", "trl:SFTTrainer", columns.labelled, sft_settings)

TRAINERS: dict[Objective, ObjectiveTrainer] = {
    "sft": _SFT,
    "pretrain": _SFT,
    "dpo": ObjectiveTrainer(
        "trl:DPOConfig",
        "trl:DPOTrainer",
        columns.compared,
        reference_columns=("ref_chosen_logps", "ref_rejected_logps"),
    ),
    "kto": ObjectiveTrainer(
        "trl:KTOConfig",
        "hpclaunch.train.kto_trainer:KTORunTrainer",
        columns.with_label,
    ),
    "reward": ObjectiveTrainer("trl:RewardConfig", "trl:RewardTrainer", columns.scored),
    "grpo": ObjectiveTrainer(
        "trl:GRPOConfig",
        "hpclaunch.train.grpo_trainer:GRPORunTrainer",
        columns.prompt,
        grpo_settings,
    ),
}
"""All objectives."""


def config_class(objective: Objective) -> Any:
    """Return TRL's class of training arguments."""
    return resolve_name(TRAINERS[objective].config)


@cache
def trainer_class(objective: Objective) -> Any:
    """Return the trainer, a `CheckpointingTrainerMixin` over TRL's."""
    from hpclaunch.train.reference import ReferenceMixin
    from hpclaunch.train.trainer import CheckpointingTrainerMixin, TokenizedRowsMixin

    row = TRAINERS[objective]
    trainer = resolve_name(row.trainer)
    if issubclass(trainer, CheckpointingTrainerMixin):
        return trainer
    rows = ReferenceMixin if row.reference_columns else TokenizedRowsMixin
    return type(
        f"{objective.upper()}RunTrainer",
        (CheckpointingTrainerMixin, rows, trainer),
        {"__module__": __name__, "reference_columns": row.reference_columns},
    )
