"""Group relative policy optimization: TRL's trainer over prompts that are tokenized already."""

from __future__ import annotations

import json
import os
from typing import Any

from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from hpclaunch.errors import UserError
from hpclaunch.run.events import is_full
from hpclaunch.run.regular_file import create_regular
from hpclaunch.train.rewards import check_columns
from hpclaunch.train.trainer import CheckpointingTrainerMixin

KEPT_BACK = "prompt_ids"
"""The column that reward functions do not get."""


class GRPORunTrainer(CheckpointingTrainerMixin, GRPOTrainer):  # type: ignore[misc]  # trl is untyped
    """GRPO, with checkpoints in a run folder."""

    accelerator: Any
    args: Any
    reference: Any = None
    """A copy of the model that the loss compares with, None where it needs none."""
    _prompt_ids: list[list[int]]

    def __init__(self, *arguments: Any, ref_model: Any = None, **options: Any) -> None:
        """Take the trainer's own arguments as `arguments` and `options`.

        TRL would load the reference model itself, whole on every rank: it is told that there is
        none, and given the one that is sharded as the model is.
        """
        args = options["args"]
        columns = [name for name in options["train_dataset"].column_names if name != KEPT_BACK]
        check_columns(options["reward_funcs"], [name for name in columns if name != "prompt"])
        beta, args.beta = args.beta, 0.0
        logs_completions, args.log_completions = args.log_completions, False
        self.reference = ref_model
        super().__init__(*arguments, **options)
        args.beta = self.beta = beta
        self.writes_completions = logs_completions
        if ref_model is not None:
            self._take_reference(ref_model)
        self._check_enough_prompts()

    def _take_reference(self, model: Any) -> None:
        add_fused_lm_head(model, temperature=self.temperature)
        if not self.context.fsdp_version:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        self.ref_model = model

    def create_accelerator_and_postprocess(self) -> None:
        """Shard the reference model as accelerate shards the model: layer by layer."""
        super().create_accelerator_and_postprocess()
        if self.reference is not None and self.context.fsdp_version == 2:
            from accelerate.utils.fsdp_utils import fsdp2_prepare_model

            from hpclaunch.train.output_types import keep_output_types

            fsdp2_prepare_model(self.accelerator, self.reference)
            keep_output_types(self.reference)

    def _check_enough_prompts(self) -> None:
        """Refuse data without a whole batch of prompts, on which TRL would train nothing.

        Raises UserError.
        """
        a_time = self.args.generation_batch_size // self.num_generations
        if len(self.train_dataset) < a_time:
            raise UserError(
                f"{len(self.train_dataset):,} prompts, and {a_time:,} are answered at a time "
                f"({self.num_generations} completions of each)",
                "give more prompts, or lower training.gradient_accumulation_steps or "
                "training.per_device_train_batch_size",
            )

    @property
    def tokens_seen(self) -> int:
        """Tokens of prompts and completions so far, over all ranks."""
        return int(self.state.num_input_tokens_seen)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        self._prompt_ids = [row[KEPT_BACK] for row in inputs]
        rows = [{key: row[key] for key in row if key != KEPT_BACK} for row in inputs]
        return super()._generate_and_score_completions(rows)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Return the tokens that the data was prepared with, in place of TRL's own."""
        return self._prompt_ids, None, {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step; write the completions that were scored, where the recipe wants them."""
        super().log(logs, start_time)
        if self.writes_completions and self.context.is_main_process and "loss" in logs:
            self._write_completions()

    def _write_completions(self) -> None:
        """Append the newest completions to RUN/completions.jsonl; on a full disk they are lost."""
        logs = self._logs
        names = list(logs["rewards"])
        rows = zip(
            logs["prompt"], logs["completion"], logs["advantages"],
            *(logs["rewards"][name] for name in names), strict=True,
        )  # fmt: skip
        lines = [
            json.dumps({
                "step": self.state.global_step, "prompt": prompt, "completion": completion,
                "rewards": dict(zip(names, rewards, strict=True)), "advantage": advantage,
            })
            for prompt, completion, advantage, *rewards in rows
        ]  # fmt: skip
        try:
            descriptor = create_regular(self.run.completions, os.O_WRONLY | os.O_APPEND)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            if not is_full(error):
                raise
