"""Reward modelling: TRL's trainer over rows that are tokenized already."""

from __future__ import annotations

from typing import Any

from trl import RewardTrainer

from hpclaunch.train.trainer import CheckpointingTrainerMixin


class RewardRunTrainer(CheckpointingTrainerMixin, RewardTrainer):  # type: ignore[misc]  # trl is untyped
    """Reward modelling, with checkpoints in a run folder."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset
