"""What the first rank says and marks while it trains: one line a logged step, no progress bars."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.events import is_full, log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.units import duration


def say(text: str) -> None:
    """Print a line at once, in one piece: print() writes the line's end by itself, and a launcher

    that joins the output of many ranks may put another's line between the two. The launcher's file
    that it goes to may lie on a disk that is full: then it is lost.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        if not is_full(error):
            raise


@dataclass(frozen=True)
class Clock:
    """Where the last logged step ended."""

    time: float
    step: int
    tokens: int
    waited: float


class ProgressLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Marks and says each logged step and each evaluation."""

    def __init__(self, run: RunFolder, tokens: Any, waited: Any) -> None:
        """`tokens()` gives the tokens trained on so far, over all ranks, without padding.

        `waited()` gives the seconds that this rank has waited for its batches so far.
        """
        self.run = run
        self.tokens = tokens
        self.waited = waited
        self.began: Clock | None = None
        self.last: Clock | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.began = self.last = self._now(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Mark and say what was logged; the trainer's closing summary is left out."""
        logs = logs or {}
        if "eval_loss" in logs:
            loss = round(float(logs["eval_loss"]), 6)
            log_event(self.run.events, "eval", step=state.global_step, loss=loss)
            say(f"step {state.global_step}/{state.max_steps}  eval loss {loss:.3f}")
            if self.last:  # the time of an evaluation is no step's
                self.last = replace(self._now(self.last.step), tokens=self.last.tokens)
        elif "loss" in logs and self.last and self.began:
            self._step(state, logs, self.last, self.began)

    def _now(self, step: int) -> Clock:
        return Clock(time.monotonic(), step, self.tokens(), self.waited())

    def _step(self, state: Any, logs: dict[str, Any], last: Clock, began: Clock) -> None:
        now = self._now(state.global_step)
        self.last = now
        seconds = now.time - last.time
        tokens = now.tokens - last.tokens
        loss, rate = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
        log_event(
            self.run.events,
            "step",
            step=now.step,
            total=state.max_steps,
            seconds=round(seconds, 4),
            tokens=tokens,
            waited=round(now.waited - last.waited, 4),
            loss=round(loss, 6),
            learning_rate=rate,
        )
        done = now.step - began.step
        left = (state.max_steps - now.step) * (now.time - began.time) / done if done else 0.0
        speed = tokens / seconds if seconds > 0 else 0.0
        say(
            f"step {now.step}/{state.max_steps}  loss {loss:.3f}  lr {rate:.1e}  "
            f"{speed:,.0f} tokens/s  eta {duration(left)}"
        )
