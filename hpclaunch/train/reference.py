"""The reference model of a loss that compares with where training began, and its log-probabilities.

Of an adapter the reference is the model without it: no second copy. A full fine-tune holds one,
loaded and sharded as the model itself is. With `precompute_ref_log_probs` its log-probabilities
are computed once, before the first step, and kept in the run folder for later attempts.
"""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.distributed import DistContext, all_gather_object
from hpclaunch.train.trainer import TokenizedRowsMixin


class ReferenceMixin(TokenizedRowsMixin):
    """Trains on rows as they come, with the reference model sharded like the policy.

    Comes before TRL's class.
    """

    run: RunFolder
    context: DistContext
    accelerator: Any
    ref_model: Any
    args: Any
    data_collator: Any
    train_dataset: Any
    eval_dataset: Any
    precompute_ref_logps: bool
    reference: Any = None
    """The copy of the model that this trainer was given."""
    reference_columns: tuple[str, ...] = ()
    """Columns that TRL reads instead of running the reference model."""

    def __init__(self, *arguments: Any, ref_model: Any = None, **options: Any) -> None:
        """Take the trainer's own arguments as `arguments` and `options`."""
        args = options["args"]
        precomputes, args.precompute_ref_log_probs = args.precompute_ref_log_probs, False
        self.reference = ref_model
        super().__init__(*arguments, ref_model=ref_model, **options)  # type: ignore[call-arg]  # of the trainer that this is mixed into
        args.precompute_ref_log_probs = self.precompute_ref_logps = precomputes
        if precomputes:
            self._precompute_all()
            self.ref_model = self.reference = None  # what it says is in the rows now
            gc.collect()

    def _precompute_all(self) -> None:
        phases.begin("computing the reference model's log-probabilities")
        size = self.args.precompute_ref_batch_size or self.args.per_device_train_batch_size
        self.train_dataset = self._precompute_ref_logps(self.train_dataset, "train", size)
        if self.eval_dataset is not None:
            size = self.args.precompute_ref_batch_size or self.args.per_device_eval_batch_size
            self.eval_dataset = self._precompute_ref_logps(self.eval_dataset, "eval", size)

    def create_accelerator_and_postprocess(self) -> None:
        """Shard the reference model as accelerate shards the model: layer by layer.

        TRL would make one unit of it, all of which is unsharded at once.
        """
        super().create_accelerator_and_postprocess()  # type: ignore[misc]  # the trainer's, beside this class
        if self.reference is not None and self.context.fsdp_version == 2:
            from accelerate import accelerator

            from hpclaunch.train.loading.hooks import load_when_sharded
            from hpclaunch.train.output_types import keep_output_types

            load_when_sharded(self.reference)
            accelerator.fsdp2_prepare_model(self.accelerator, self.reference)
            keep_output_types(self.reference)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Return the rows with the reference's log-probabilities, computed once for a run.

        Every rank gets all of them from the ranks that computed them: no rank reads what another
        has written, so nodes need not share a cache.
        """
        key = hashlib.sha256(
            repr((dataset._fingerprint, batch_size, self._reference_key())).encode()
        ).hexdigest()[:16]
        file = self.run.root / "reference" / f"{name}-{key}.safetensors"
        saved = _load(file, len(dataset)) if self.context.is_main_process else None
        values = all_gather_object(self.context, saved)[0]
        if values is None:
            values = self._reference_logps(dataset, batch_size)
            if self.context.is_main_process:
                _save(file, values)
        for column, numbers in values.items():
            dataset = dataset.add_column(column, numbers)
        return dataset

    def _reference_key(self) -> tuple[Any, ...]:
        """Return what the log-probabilities depend on beside rows and model, which a run keeps."""
        names = ("max_length", "truncation_mode", "ld_alpha", "bf16", "fp16")
        return tuple(getattr(self.args, name, None) for name in names)

    def _reference_logps(self, dataset: Any, batch_size: int) -> dict[str, list[float]]:
        from torch.utils.data import DataLoader

        columns = [name for name in dataset.column_names if name in self._columns_of_a_batch()]
        loader = self.accelerator.prepare(
            DataLoader(
                dataset.select_columns(columns),
                batch_size=batch_size,
                collate_fn=self.data_collator,
                shuffle=False,
            )
        )
        model = self.ref_model or self.model  # type: ignore[attr-defined]  # the trainer's
        names = self.reference_columns
        values: dict[str, list[float]] = {name: [] for name in names}
        for batch in loader:
            results = self.compute_ref_log_probs(model, batch)  # type: ignore[attr-defined]  # the trainer's
            for column, result in zip(names, results, strict=True):
                if result is not None:
                    whole = self.accelerator.gather_for_metrics(result)
                    values[column] += whole.float().cpu().tolist()
        return {name: numbers for name, numbers in values.items() if numbers}

    def _columns_of_a_batch(self) -> tuple[str, ...]:
        return (
            "prompt_ids", "chosen_ids", "rejected_ids", "completion_ids", "KL_completion_ids",
            "label",
        )  # fmt: skip


def _load(file: Path, rows: int) -> dict[str, list[float]] | None:
    """Return saved log-probabilities of so many rows, None where there are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values = {name: tensor.tolist() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError):
        return None
    return values if all(len(numbers) == rows for numbers in values.values()) else None


def _save(file: Path, values: dict[str, list[float]]) -> None:
    """Write log-probabilities: whole, or not at all."""
    import torch
    from safetensors.torch import save_file

    file.parent.mkdir(exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({name: torch.tensor(numbers) for name, numbers in values.items()}, partial)
    partial.rename(file)
