"""The objectives, a row each: which loss is trained, on what rows, and all that follows from it.

Another objective is a row of `OBJECTIVES`, one of `TRAINERS` in `hpclaunch.train.objectives`, and
the fields of its TRL config, written by `python -m hpclaunch.train.config_fields NAME`. What else
depends on the objective asks its row, never for its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from hpclaunch.recipe.grpo_fields import GRPO_NOT

MethodKind = Literal["full", "lora", "qlora"]
Objective = Literal["sft", "pretrain", "dpo", "kto", "reward", "grpo"]
DEFAULT_OBJECTIVE: Objective = "sft"
"""That of a recipe that names none."""

Shape = Literal[
    "messages", "conversations", "prompt_completion", "text", "alpaca",
    "preference", "implicit_preference", "unpaired", "prompt",
]  # fmt: skip
"""Shapes of data rows; their columns are in `hpclaunch.recipe.shapes`."""

Refusals: TypeAlias = dict[str, str]
"""Fields that a recipe cannot set, each with the reason or what to do instead."""


class ObjectiveSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an objective is, for everything that does not need torch."""

    summary: str
    """What is learnt, for the pages."""
    config: str
    """Name of its TRL config, whose fields `training` takes."""
    shapes: tuple[Shape, ...]
    """The shapes that its data may have, in the order in which they are detected."""
    learning_rate: dict[MethodKind, float]
    """Where a recipe names none: an adapter bears more than the weights themselves, and a loss
    against a reference model less than one over tokens."""

    defaults: dict[str, Any] = {}
    """Of `training`, over those of all objectives."""
    has_no: dict[str, tuple[str, str]] = {}
    """Defaults of all objectives that its config has no field for: what it has in their place, and
    what to set."""
    losses: tuple[str, ...] = ()
    """What `loss_type` may be: TRL refuses others in the job. Empty: it has no such field."""
    refused: Refusals = {}
    """Fields of its config that a recipe cannot set."""
    metrics: tuple[str, ...] = ()
    """What it measures beside its loss, by TRL's names: events hold these."""

    packs: bool = False
    """Its trainer can put several samples into a row."""
    learns_every_token: bool = False
    """All of a row is learnt, whoever says it; packing cuts long texts into several rows."""
    reads_margin: bool = False
    """Its loss uses the column `margin` of pairs."""
    keeps_prepared_rows: bool = False
    """Tokenized rows are kept for later runs. What its trainer makes of them for one size of batch
    is not in them."""
    context_parallel: bool = False
    """Its loss takes labels that were shifted before a sequence was split over ranks."""
    deepspeed: tuple[MethodKind, ...] = ()
    """Methods with which it was seen to train, save and resume under DeepSpeed's ZeRO."""
    loads_shards: bool = False
    """Its trainer takes a model that is still on the meta device, so each rank reads its own
    shard; otherwise every rank loads the whole model. Say so once it was tried."""

    sequences: int = 1
    """That a sample is in a micro-batch: two answers, each behind the prompt, are two."""
    reference: Literal["precomputable", "by_beta"] | None = None
    """The loss compares with the model that training starts from. precomputable: in every step,
    unless `precompute_ref_log_probs` asks it before the first; by_beta: where `beta` is not 0."""
    kl_of_batch: bool = False
    """The KL is estimated from the other samples of a micro-batch."""
    losses_without_kl: tuple[str, ...] = ()
    """Of `losses`, those that need none."""
    scores: bool = False
    """It trains a model with a head of one number in place of the vocabulary's."""
    writes_completions: bool = False
    """Rows are prompts; the model writes the answers, which reward functions score. Those get the
    rows' other columns."""

    @property
    def fields_file(self) -> str:
        """Name of the file in this package that holds its config's fields and their types."""
        return f"{self.config.removesuffix('Config').lower()}_fields.json"

    def estimates_kl(self, training: Mapping[str, Any]) -> bool:
        """Return whether the KL comes from a micro-batch. `training`: the recipe's section."""
        return self.kl_of_batch and training.get("loss_type") not in self.losses_without_kl


PAIRS: tuple[Shape, ...] = ("preference", "implicit_preference")
"""Pairs of a chosen and a rejected answer, with their prompt or beginning with it."""

_OF_TOKENS: dict[MethodKind, float] = {"full": 2e-5, "lora": 1e-4, "qlora": 2e-4}
_OF_A_COMPARISON: dict[MethodKind, float] = {"full": 1e-6, "lora": 1e-5, "qlora": 1e-5}
_ALL_LEARNT = "every token is learnt; set method.objective: sft to learn answers alone"
_NO_SYNC = dict.fromkeys(
    ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),
    "the reference model is the one that training starts from, after a resume, too",
)
_OF_PAIRS = (
    "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected",
    "logps/chosen", "logps/rejected",
)  # fmt: skip

_OF_SFT = ("nll", "dft", "chunked_nll")

OBJECTIVES: dict[Objective, ObjectiveSpec] = {
    "sft": ObjectiveSpec(
        summary="supervised fine-tuning",
        config="SFTConfig",
        shapes=("messages", "conversations", "prompt_completion", "alpaca", "text"),
        learning_rate=_OF_TOKENS,
        losses=_OF_SFT,
        packs=True,
        keeps_prepared_rows=True,
        context_parallel=True,
        deepspeed=("full", "lora"),
        loads_shards=True,
    ),
    "pretrain": ObjectiveSpec(
        summary="every token of plain text",
        config="SFTConfig",
        shapes=("text",),
        learning_rate=_OF_TOKENS,
        losses=_OF_SFT,
        refused={"assistant_only_loss": _ALL_LEARNT, "completion_only_loss": _ALL_LEARNT},
        packs=True,
        learns_every_token=True,
        keeps_prepared_rows=True,
        context_parallel=True,
        deepspeed=("full", "lora"),
        loads_shards=True,
    ),
    "dpo": ObjectiveSpec(
        summary="to prefer one of two answers",
        config="DPOConfig",
        shapes=PAIRS,
        learning_rate=_OF_A_COMPARISON,
        losses=(
            "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
            "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
        ),
        refused={"padding_free": "this version of TRL has switched it off for DPO", **_NO_SYNC},
        metrics=_OF_PAIRS,
        keeps_prepared_rows=True,
        deepspeed=("lora",),
        loads_shards=True,
        sequences=2,
        reference="precomputable",
    ),
    "kto": ObjectiveSpec(
        summary="answers that are good or bad",
        config="KTOConfig",
        shapes=("unpaired",),
        learning_rate=_OF_A_COMPARISON,
        # The KL needs another sample in a micro-batch.
        defaults={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        losses=("kto", "apo_zero_unpaired"),
        refused={
            "train_sampling_strategy": "samples are shuffled once, by training.seed, and then keep "
            "their neighbours, with which the KL is estimated",
            "precompute_ref_batch_size": "it is that of training, in which the KL is estimated",
            **_NO_SYNC,
        },
        metrics=(*_OF_PAIRS, "kl"),
        keeps_prepared_rows=True,
        deepspeed=("lora",),
        loads_shards=True,
        reference="precomputable",
        kl_of_batch=True,
        losses_without_kl=("apo_zero_unpaired",),
    ),
    "reward": ObjectiveSpec(
        summary="a model that scores answers",
        config="RewardConfig",
        shapes=PAIRS,
        learning_rate={"full": 1e-5, "lora": 1e-4, "qlora": 1e-4},
        metrics=("margin", "accuracy", "min_reward", "mean_reward", "max_reward"),
        reads_margin=True,
        keeps_prepared_rows=True,
        loads_shards=True,
        sequences=2,
        scores=True,
    ),
    "grpo": ObjectiveSpec(
        summary="answers that the model writes, which reward functions of yours score",
        config="GRPOConfig",
        shapes=("prompt",),
        learning_rate=_OF_A_COMPARISON,
        has_no={
            "max_length": (
                "two lengths",
                "set method.grpo.max_prompt_length and training.max_completion_length",
            )
        },
        losses=("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        refused=GRPO_NOT,
        metrics=(
            "reward", "reward_std", "frac_reward_zero_std", "entropy", "kl",
            "completions/mean_length", "completions/max_length", "completions/clipped_ratio",
        ),
        loads_shards=True,
        reference="by_beta",
        writes_completions=True,
    ),
}  # fmt: skip
"""All objectives."""
