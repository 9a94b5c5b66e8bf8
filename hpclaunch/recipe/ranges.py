"""What numbers of the `training` section can be: the trainer would stop on others, or go astray."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Range(NamedTuple):
    """What a number must lie in."""

    low: float
    """In the field's own unit, as `high` is."""
    above: bool = False
    """Greater than `low`, which itself is not allowed."""
    high: float = math.inf
    """In the field's own unit."""
    also: tuple[float, ...] = ()
    """Values outside that have a meaning of their own."""

    def holds(self, value: float) -> bool:
        """Return whether a value is allowed."""
        if value in self.also:
            return True
        low = value > self.low if self.above else value >= self.low
        return low and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        """Return it in words: `at least 1`, `0 to 1`, `more than 0`, `a finite number`."""
        if self.low == -math.inf:
            words = "a finite number"
        elif self.high < math.inf:
            words = f"{self.low:.10g} to {self.high:.10g}"
            words = f"more than {words}" if self.above else words
        else:
            words = f"more than {self.low:g}" if self.above else f"at least {self.low:g}"
        return words + "".join(f", or {value:g}" for value in self.also)


MOST_TOKENS, MOST_SAMPLES, MOST_STEPS = 2**24, 2**16, 10**9
"""No sample, micro-batch or training is longer: what is beyond is a slip of the keyboard."""
_COUNT, _NOT_NEGATIVE, _POSITIVE = Range(1), Range(0), Range(0, above=True)
_SHARE, _SEED = Range(0, high=1), Range(0, high=2**32 - 1)
_FINITE = Range(-math.inf)

RANGES: dict[str, Range] = {
    "learning_rate": Range(0, above=True, high=100),  # 2e5 is 2e-5 without its sign
    "per_device_train_batch_size": Range(1, high=MOST_SAMPLES),
    "per_device_eval_batch_size": Range(1, high=MOST_SAMPLES),
    "gradient_accumulation_steps": Range(1, high=MOST_SAMPLES),
    "global_batch": Range(1, high=MOST_SAMPLES),
    "eval_accumulation_steps": _COUNT,
    "num_train_epochs": Range(0, above=True, high=10**6),
    "max_steps": Range(1, high=MOST_STEPS, also=(-1,)),
    "max_length": Range(1, high=MOST_TOKENS),
    "max_completion_length": Range(1, high=MOST_TOKENS),
    "num_generations": Range(2, high=MOST_SAMPLES),
    "num_generations_eval": Range(2, high=MOST_SAMPLES),
    "steps_per_generation": Range(1, high=MOST_SAMPLES),
    "generation_batch_size": Range(2, high=MOST_SAMPLES),
    "num_iterations": Range(1, high=1000),
    "beta": _NOT_NEGATIVE,
    "temperature": _POSITIVE,
    "top_p": Range(0, above=True, high=1),
    "warmup_steps": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "adam_epsilon": _POSITIVE,
    "label_smoothing_factor": _SHARE,
    "neftune_noise_alpha": _NOT_NEGATIVE,
    "logging_steps": _POSITIVE,
    "eval_steps": _POSITIVE,
    "seed": _SEED,
    "data_seed": _SEED,
    "ddp_timeout": _COUNT,
    "dataloader_num_workers": _NOT_NEGATIVE,
    "dataset_num_proc": _COUNT,
    "dataloader_prefetch_factor": _COUNT,
    "ddp_bucket_cap_mb": _COUNT,
    "torch_empty_cache_steps": _COUNT,
    "precompute_ref_batch_size": _COUNT,
    "pad_to_multiple_of": Range(1, high=MOST_TOKENS),
    "eval_delay": _NOT_NEGATIVE,
    "router_aux_loss_coef": _NOT_NEGATIVE,
    "center_rewards_coefficient": _NOT_NEGATIVE,
    "label_smoothing": Range(0, high=0.5),
    "discopop_tau": _POSITIVE,
    "ld_alpha": _SHARE,
    "desirable_weight": _NOT_NEGATIVE,
    "undesirable_weight": _NOT_NEGATIVE,
    "epsilon": _NOT_NEGATIVE,
    "epsilon_high": _NOT_NEGATIVE,
    "delta": _POSITIVE,
    "min_p": _SHARE,
    "top_k": _NOT_NEGATIVE,
    "top_entropy_quantile": _SHARE,
    "repetition_penalty": _POSITIVE,
    "sapo_temperature_neg": _POSITIVE,
    "sapo_temperature_pos": _POSITIVE,
    "vespo_k_neg": _NOT_NEGATIVE,
    "vespo_k_pos": _NOT_NEGATIVE,
    "vespo_lambda_neg": Range(1e-4),  # TRL takes 1e-4 in place of less
    "vespo_lambda_pos": Range(1e-4),
    "off_policy_mask_threshold": _NOT_NEGATIVE,
    "vllm_importance_sampling_clip_max": _POSITIVE,
    "vllm_importance_sampling_clip_min": _NOT_NEGATIVE,
    "entropy_coef": _FINITE,
    "f_alpha_divergence_coef": _FINITE,
    "loss_weights": _FINITE,
    "reward_weights": _FINITE,
}
"""Fields of numbers, and of lists of them. Of a list each number is looked at."""


def out_of_range(key: str, value: Any) -> str | None:
    """Return what a value of `training`, or each number of a list, must be; None for a valid one.

    Texts, true and false beside a list are no numbers: whether a field takes those is its type's
    matter.
    """
    allowed = RANGES.get(key)
    if allowed is None:
        return None
    if isinstance(value, list):
        right = all(_is_number(each) and allowed.holds(each) for each in value)
        return None if right else f"each must be {allowed}"
    return str(allowed) if _is_number(value) and not allowed.holds(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
