"""Direct preference optimization: TRL's trainer over rows that are tokenized already."""

from __future__ import annotations

from trl import DPOTrainer

from hpclaunch.train.reference import ReferenceMixin
from hpclaunch.train.trainer import CheckpointingTrainerMixin


class DPORunTrainer(CheckpointingTrainerMixin, ReferenceMixin, DPOTrainer):  # type: ignore[misc]  # trl is untyped
    """DPO, with checkpoints in a run folder."""
