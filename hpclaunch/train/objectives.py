"""TRL's classes by objective. The objective is which loss is trained; the method, which weights.

Another objective needs: its name in `recipe.schema.Objective` and its formats in `Data.format`; in
`recipe.shapes` its `SHAPES` and `COLUMNS`, and what `convert` makes of a row; its tokens in
`chat.tokens`; its learning rates in `recipe.training` and its fields, written by
`python -m hpclaunch.train.config_fields`; its defaults in `train.settings`; its classes here, the
trainer as `class NAMERunTrainer(CheckpointingTrainerMixin, NAMETrainer)` in `train.trainer`; what
it passes the trainer beside model and data in `train.build`. `predict` knows no objective yet: a
reference model and pairs of samples must be counted there.
"""

from __future__ import annotations

from typing import Any

from hpclaunch.recipe.schema import Objective


def config_class(objective: Objective) -> Any:
    """Return TRL's class of training arguments."""
    import trl

    return {"sft": trl.SFTConfig}[objective]


def trainer_class(objective: Objective) -> Any:
    """Return the trainer, a `CheckpointingTrainerMixin` over TRL's."""
    from hpclaunch.train import trainer

    return {"sft": trainer.SFTRunTrainer}[objective]
