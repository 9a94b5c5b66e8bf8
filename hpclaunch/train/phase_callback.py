"""Tells when training steps begin, and how far an evaluation is."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from hpclaunch.train import phases


class PhaseCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """For the main process alone."""

    def __init__(self) -> None:
        """Start before the first step."""
        self._stepped = False
        self._batches = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report that the first step runs: the slowest, kernels are compiled in it."""
        phases.begin("the first step is running")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report that steps run."""
        if not self._stepped:
            self._stepped = True
            phases.begin("")

    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any
    ) -> None:
        """Count the batches of an evaluation."""
        if self._batches == 0:
            phases.begin("evaluating")
        self._batches += 1
        try:
            total: int | None = len(eval_dataloader)
        except TypeError:  # of an iterable dataset
            total = None
        phases.count(self._batches, total, "batches")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report that steps run again."""
        self._batches = 0
        phases.begin("" if self._stepped else "the first step is running")
