"""What an objective measures beside its loss, by TRL's names: in events, and in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hpclaunch.recipe.objectives import OBJECTIVES

KEPT = tuple(dict.fromkeys(name for spec in OBJECTIVES.values() for name in spec.metrics))
"""Metrics that events hold: those of all objectives."""

_OF_FUNCTION = re.compile(r"rewards/[^/]{1,80}/(mean|std)")
"""Those of each reward function of GRPO, by its name."""

MOST = 100
"""Metrics of one event that are read."""

_SHOWN = {
    "rewards/margins": "margin {:.3f}",
    "rewards/accuracies": "accuracy {:.0%}",
    "margin": "margin {:.3f}",
    "accuracy": "accuracy {:.0%}",
    "reward": "reward {:.3f}",
    "reward_std": "std {:.3f}",
    "kl": "KL {:.3f}",
    "completions/mean_length": "{:.0f} tokens",
    "completions/clipped_ratio": "{:.0%} clipped",
}
"""Those that lines show, and how. The margin is by how much a good answer is rewarded more; the
accuracy, the share of pairs in which it is. Clipped are completions that reached their longest
length without an end."""


def metrics_in(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return an objective's metrics among what a trainer logs, or an event holds.

    `prefix`: what stands before their names, `eval_` for an evaluation. Others are left out, and
    what is no finite number.
    """
    found = {}
    names = [name.removeprefix(prefix) for name in values if name.startswith(prefix)]
    of_functions = [name for name in names if _OF_FUNCTION.fullmatch(name)]
    for name in (*KEPT, *of_functions[: MOST - len(KEPT)]):
        value = values.get(f"{prefix}{name}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            found[name] = round(float(value), 6)
    return found


def in_words(metrics: Mapping[str, float]) -> str:
    """Return the most telling of them in words, with commas; empty where there is none."""
    return ", ".join(text.format(metrics[name]) for name, text in _SHOWN.items() if name in metrics)
