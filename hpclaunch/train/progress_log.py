"""What the main process logs while it trains: a line and an event a logged step, no bars."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.events import is_full, log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.objective_metrics import in_words, metrics_in
from hpclaunch.units import duration


def log_line(text: str) -> None:
    """Print a line with one write; on a full disk it is lost.

    print() writes the line's end separately, and a launcher that joins the output of many ranks may
    put another's line between the two.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        if not is_full(error):
            raise


@dataclass(frozen=True)
class Totals:
    """Totals at the end of a logged step."""

    time: float
    """Seconds, by the monotonic clock."""
    step: int
    tokens: int
    data_wait_seconds: float


class ProgressLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Logs each logged step and each evaluation, as an event and a line."""

    def __init__(self, run: RunFolder, tokens: Any, data_wait_seconds: Any) -> None:
        """`tokens()` returns the tokens trained on so far, over all ranks, without padding.

        `data_wait_seconds()` returns how long this rank has waited for its batches so far.
        """
        self.run = run
        self.tokens = tokens
        self.data_wait_seconds = data_wait_seconds
        self.first: Totals | None = None
        self.last: Totals | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.first = self.last = self._now(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log what the trainer reports; the trainer's closing summary is left out."""
        logs = logs or {}
        if "eval_loss" in logs:
            loss = round(float(logs["eval_loss"]), 6)
            metrics = metrics_in(logs, "eval_")
            more = {"metrics": metrics} if metrics else {}
            log_event(self.run.events, "eval", step=state.global_step, loss=loss, **more)
            words = f"eval loss {loss:.3f}{_behind(metrics)}"
            log_line(f"step {state.global_step}/{state.max_steps}  {words}")
            if self.last:  # the time of an evaluation belongs to no step
                self.last = replace(self._now(self.last.step), tokens=self.last.tokens)
        elif "loss" in logs and self.last and self.first:
            self._step(state, logs, self.last, self.first)

    def _now(self, step: int) -> Totals:
        return Totals(time.monotonic(), step, self.tokens(), self.data_wait_seconds())

    def _step(self, state: Any, logs: dict[str, Any], last: Totals, first: Totals) -> None:
        now = self._now(state.global_step)
        self.last = now
        seconds = now.time - last.time
        tokens = now.tokens - last.tokens
        loss, rate = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
        metrics = metrics_in(logs)
        log_event(
            self.run.events,
            "step",
            step=now.step,
            total=state.max_steps,
            seconds=round(seconds, 4),
            tokens=tokens,
            waited=round(now.data_wait_seconds - last.data_wait_seconds, 4),
            loss=round(loss, 6),
            learning_rate=rate,
            **({"metrics": metrics} if metrics else {}),
        )
        done = now.step - first.step
        eta = (state.max_steps - now.step) * (now.time - first.time) / done if done else 0.0
        throughput = tokens / seconds if seconds > 0 else 0.0
        log_line(
            f"step {now.step}/{state.max_steps}  loss {loss:.3f}{_behind(metrics)}  lr {rate:.1e}  "
            f"{throughput:,.0f} tokens/s  eta {duration(eta)}"
        )


def _behind(metrics: dict[str, float]) -> str:
    """Return an objective's metrics as they stand behind the loss."""
    words = in_words(metrics)
    return f"  {words}" if words else ""
