"""A stop on request: the file RUN/stop ends training at the end of the step, with a checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.events import mark
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.narrator import say
from hpclaunch.train.world import World, broadcast_flag


class StopOnRequest(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Looks for the file after each step. What the first rank sees holds for all of them:

    on a shared file system two ranks may see it a step apart, and one would wait for ever.
    """

    def __init__(self, run: RunFolder, world: World) -> None:
        self.run = run
        self.world = world
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask all ranks to save and stop once the file is there."""
        asked = broadcast_flag(self.world, self.world.first and self.run.stop_request.exists())
        if asked and not self.stopped:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True
            if self.world.first:
                why = self._why()
                mark(self.run.events, "stop", step=state.global_step, why=why)
                say(f"stopping after step {state.global_step}/{state.max_steps}: {why}")
        return control

    def _why(self) -> str:
        """Give the file's own words, if it has any."""
        try:
            words = self.run.stop_request.read_text("utf-8", errors="replace").split()
        except OSError:
            words = []
        return " ".join(words)[:200] or "asked to"
