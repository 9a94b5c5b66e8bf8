"""TRL's classes by objective. The objective is which loss is trained; the method, which weights.

Another objective needs: its name in `recipe.schema.Objective` and its formats in `Data.format`; in
`recipe.shapes` its `SHAPES` and `COLUMNS`, and what `convert` makes of a row; its tokens in
`chat.tokens` or `chat.preference`, and which columns they become in `train.columns`; its learning
rates in `recipe.training` and its fields, written by `python -m hpclaunch.train.config_fields`; its
defaults in `train.settings`; its classes here, the trainer as `class NAMERunTrainer(
CheckpointingTrainerMixin, NAMETrainer)` in a module of its own; what it passes the trainer beside
model and data in `train.build`; its sequences, forward passes and copies of the model in
`predict.objective`. GRPO, which writes its own answers, has more: `recipe.grpo_section`,
`recipe.groups`, `recipe.rewards`, `launch.rewards`, `train.rewards`.
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
