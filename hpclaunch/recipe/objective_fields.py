"""What each objective's TRL config is, and which of its fields a recipe cannot set."""

from __future__ import annotations

from typing import Any

from hpclaunch.document import Document
from hpclaunch.errors import UserError, nearest
from hpclaunch.recipe.grpo_fields import GRPO_NOT
from hpclaunch.recipe.schema import MethodKind, Objective

CONFIG: dict[Objective, str] = {
    "sft": "TRL's SFTConfig",
    "pretrain": "TRL's SFTConfig",
    "dpo": "TRL's DPOConfig",
    "kto": "TRL's KTOConfig",
    "reward": "TRL's RewardConfig",
    "grpo": "TRL's GRPOConfig",
}
"""What each objective's fields are those of."""

FIELDS_OF: dict[Objective, str] = {"pretrain": "sft"}
"""The file of fields, where it is not called like the objective."""

TEMPLATE_FIELDS = {"chat_template_path": ["null", "str"], "eos_token": ["null", "str"]}
"""Fields of SFTConfig that hpclaunch itself applies, for every objective."""

LEARNING_RATE: dict[Objective, dict[MethodKind, float]] = {
    "sft": {"full": 2e-5, "lora": 1e-4, "qlora": 2e-4},
    "pretrain": {"full": 2e-5, "lora": 1e-4, "qlora": 2e-4},
    "dpo": {"full": 1e-6, "lora": 1e-5, "qlora": 1e-5},
    "kto": {"full": 1e-6, "lora": 1e-5, "qlora": 1e-5},
    "reward": {"full": 1e-5, "lora": 1e-4, "qlora": 1e-4},
    "grpo": {"full": 1e-6, "lora": 1e-5, "qlora": 1e-5},
}
"""Where a recipe names none: an adapter bears more than the weights themselves, and a loss against
a reference model less than one over tokens."""

DEFAULTS_OF: dict[Objective, dict[str, Any]] = {
    "kto": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
}
"""Over the defaults of all objectives. KTO estimates the KL from the other samples of a
micro-batch."""

HAS_NO: dict[Objective, tuple[str, ...]] = {"grpo": ("max_length",)}
"""Defaults of all objectives that one has no field for."""

LOSSES: dict[Objective, tuple[str, ...]] = {
    "dpo": (
        "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
        "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
    ),
    "kto": ("kto", "apo_zero_unpaired"),
    "grpo": ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
}  # fmt: skip
"""What `loss_type` may be: TRL refuses others in the first step."""

_ALL_LEARNT = "every token is learnt; set method.objective: sft to learn answers alone"
_NO_SYNC = dict.fromkeys(
    ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
    "the reference model is the one that training starts from, after a resume, too",
)

NOT_OF: dict[Objective, dict[str, str]] = {
    "sft": {},
    "pretrain": {"assistant_only_loss": _ALL_LEARNT, "completion_only_loss": _ALL_LEARNT},
    "dpo": {"padding_free": "this version of TRL has switched it off for DPO", **_NO_SYNC},
    "kto": {
        "train_sampling_strategy": "samples are shuffled once, by training.seed, and then keep "
        "their neighbours, with which the KL is estimated",
        "precompute_ref_batch_size": "it is that of training, in which the KL is estimated",
        **_NO_SYNC,
    },
    "reward": {},
    "grpo": GRPO_NOT,
}
"""Fields of an objective's TRL config that a recipe cannot set, each with the reason or what to do
instead."""


def check_field(where: str, key: str, value: Any, objective: Objective) -> None:
    """Refuse a field that the objective cannot have, or a loss that is none of its own.

    `where`: the field's place. Raises UserError.
    """
    if key in NOT_OF[objective]:
        raise UserError(
            f"{where}: objective {objective} does not take training.{key}", NOT_OF[objective][key]
        )
    losses = LOSSES.get(objective, ())
    if key == "loss_type" and losses:
        for name in value if isinstance(value, list) else [value]:
            if name not in losses:
                raise UserError(
                    f"{where}: training.loss_type: objective {objective} has no loss {name!r}",
                    nearest(str(name), losses),
                )


def check_micro_batch(document: Document, section: dict[str, Any], objective: Objective) -> None:
    """Refuse micro-batches of one sample where the KL comes from the others. Raises UserError."""
    key = "per_device_train_batch_size"
    estimates = objective == "kto" and section.get("loss_type") != "apo_zero_unpaired"
    if estimates and section.get(key) == 1:
        raise UserError(
            f"{document.where(('training', key))}: training.{key}: 1 leaves objective kto no other "
            "sample of a micro-batch to estimate the KL from",
            "set at least 2, or training.loss_type: apo_zero_unpaired, which needs none",
        )
