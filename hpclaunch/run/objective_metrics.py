"""What an objective measures beside its loss, by TRL's names: in events, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

KEPT = (
    "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected",
    "logps/chosen", "logps/rejected", "kl", "margin", "accuracy",
    "min_reward", "mean_reward", "max_reward",
)  # fmt: skip
"""Metrics that events hold."""

_SHOWN = {
    "rewards/margins": "margin {:.3f}",
    "rewards/accuracies": "accuracy {:.0%}",
    "margin": "margin {:.3f}",
    "accuracy": "accuracy {:.0%}",
    "kl": "KL {:.3f}",
}
"""Those that lines show, and how. The margin is by how much a good answer is rewarded more; the
accuracy, the share of pairs in which it is."""


def metrics_in(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return an objective's metrics among what a trainer logs, or an event holds.

    `prefix`: what stands before their names, `eval_` for an evaluation. Others are left out, and
    what is no finite number.
    """
    found = {}
    for name in KEPT:
        value = values.get(f"{prefix}{name}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            found[name] = round(float(value), 6)
    return found


def in_words(metrics: Mapping[str, float]) -> str:
    """Return the most telling of them in words, with commas; empty where there is none."""
    return ", ".join(text.format(metrics[name]) for name, text in _SHOWN.items() if name in metrics)
