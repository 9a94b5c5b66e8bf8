"""Kahneman-Tversky optimization: TRL's trainer over rows that are tokenized already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasets import config
from trl import KTOTrainer
from trl.trainer.utils import global_then_local_main_first

from hpclaunch.train.cached import cache_key
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.reference import ReferenceMixin
from hpclaunch.train.trainer import CheckpointingTrainerMixin

MOST_WEIGHT = 4 / 3
"""Good answers should weigh one time to so many times as much as bad ones, all together (equation 8
of the paper on KTO)."""


class KTORunTrainer(CheckpointingTrainerMixin, ReferenceMixin, KTOTrainer):  # type: ignore[misc]  # trl is untyped
    """KTO, with checkpoints in a run folder."""

    reference_columns = ("ref_logps", "ref_KL_logps")
    calculate_KL: bool

    def _prepare_dataset(self, dataset: Any, tokenizer: Any, args: Any, name: str) -> Any:
        """Give each sample the answer of the one before it in its micro-batch, for the KL.

        Training samples are shuffled once before: then their order must stay as it is.
        """
        train = name == "train"
        seed = args.seed if args.data_seed is None else args.data_seed
        size = args.per_device_train_batch_size if train else args.per_device_eval_batch_size
        if train:
            self._log_balance(dataset, args)
        key = cache_key(dataset, (sys.modules[__name__],), seed if train else None)
        if train:
            dataset = dataset.shuffle(seed=seed, keep_in_memory=True, new_fingerprint=key)
        if not self.calculate_KL:
            return dataset
        paired = cache_key(dataset, (sys.modules[__name__],), key, size)
        with global_then_local_main_first():
            return dataset.map(
                _with_other_answers,
                batched=True,
                batch_size=size,
                new_fingerprint=paired,
                cache_file_name=_pairs_file(paired),
                desc="pairing answers with other prompts",
            )

    def _log_balance(self, dataset: Any, args: Any) -> None:
        """Log how many answers are good, and a weight where the two kinds are out of balance."""
        good = sum(dataset["label"])
        bad = len(dataset) - good
        if not self.context.is_main_process:
            return
        log_line(f"data: {good:,} good answers, {bad:,} bad ones")
        if not good or not bad:
            log_line("data: all answers have one label: KTO learns from good beside bad ones")
            return
        share = args.desirable_weight * good / (args.undesirable_weight * bad)
        if not 1 <= share <= MOST_WEIGHT:
            better = args.desirable_weight * good / (MOST_WEIGHT * bad)
            log_line(
                f"data: good answers weigh {share:.2f} times as much as bad ones, where 1 to 1.33 "
                f"is known to work; training.undesirable_weight={better:.3g} makes it so"
            )


def _pairs_file(key: str) -> str:
    """Return where pairs are kept: never beside the rows, whose folder may be that of all runs."""
    folder = Path(config.HF_DATASETS_CACHE) / "hpclaunch-pairs"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{key}.arrow")


def _with_other_answers(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    answers = batch["completion_ids"]
    return {"KL_completion_ids": [answers[-1], *answers[:-1]]}
