"""TRL's classes by objective. The objective is which loss is trained; the method, which weights.

Another objective needs:
- its name in `recipe.schema.Objective`, and its `SHAPES` in `recipe.shapes`;
- `CONFIG`, `LEARNING_RATE`, `NOT_OF` and, where it has them, `LOSSES`, `DEFAULTS_OF`, `HAS_NO` in
  `recipe.objective_fields`; its fields, written by `python -m hpclaunch.train.config_fields NAME`;
- `OBJECTIVES` in `recipe.loading`, without which each rank loads the whole model, and in
  `train.prepared.key`, without which tokenized rows are not kept;
- `COLUMNS_OF` in `train.columns`, `OBJECTIVE_DEFAULTS` in `train.settings`, and `REFERENCE_COLUMNS`
  in `train.reference` where it compares with a reference model;
- its classes here (TRL's experimental ones are in `trl.experimental.NAME`), the trainer as `class
  NAMERunTrainer(CheckpointingTrainerMixin, NAMETrainer)` in a module of its own, and what it passes
  the trainer beside model and data in `train.build`;
- `objective_work` in `predict.objective`: its sequences, forward passes and copies of the model;
- a recipe in `recipe/ready`. Another shape of rows: `COLUMNS` and `convert` in `recipe.shapes`, and
  `Data.format`; its tokens in `chat.tokens` or `chat.preference`.

GRPO, which writes its own answers, has more: `recipe.grpo_section`, `recipe.groups`,
`recipe.rewards`, `launch.rewards`, `train.rewards`.
"""

from __future__ import annotations

from typing import Any

from hpclaunch.recipe.schema import Objective


def config_class(objective: Objective) -> Any:
    """Return TRL's class of training arguments."""
    import trl

    names: dict[Objective, str] = {
        "sft": "SFTConfig",
        "pretrain": "SFTConfig",
        "dpo": "DPOConfig",
        "kto": "KTOConfig",
        "reward": "RewardConfig",
        "grpo": "GRPOConfig",
    }
    return getattr(trl, names[objective])


def trainer_class(objective: Objective) -> Any:
    """Return the trainer, a `CheckpointingTrainerMixin` over TRL's."""
    if objective in ("sft", "pretrain"):
        from hpclaunch.train.trainer import SFTRunTrainer

        return SFTRunTrainer
    if objective == "dpo":
        from hpclaunch.train.dpo_trainer import DPORunTrainer

        return DPORunTrainer
    if objective == "kto":
        from hpclaunch.train.kto_trainer import KTORunTrainer

        return KTORunTrainer
    if objective == "grpo":
        from hpclaunch.train.grpo_trainer import GRPORunTrainer

        return GRPORunTrainer
    from hpclaunch.train.reward_trainer import RewardRunTrainer

    return RewardRunTrainer
