"""The look at a run's data on the command line: progress meanwhile, what it found afterwards."""

from __future__ import annotations

from hpclaunch.cli.text import WaitingMessage, say
from hpclaunch.dataset.check import check_data
from hpclaunch.recipe.schema import Recipe


class DataLines:
    """Checks a recipe's data when called, and keeps what its user should read.

    `waiting` is the message that Slurm has not answered: it is not due during the look.
    """

    def __init__(self, waiting: WaitingMessage | None = None) -> None:
        self._waiting = waiting
        self._lines: tuple[str, ...] = ()

    def __call__(self, recipe: Recipe) -> None:
        """Look at the data. Raises UserError."""
        if self._waiting is not None:
            self._waiting.stop()
        self._lines = check_data(recipe, progress=say)
        if self._waiting is not None:
            self._waiting.start()

    def print(self) -> None:
        """Print what the look found, on stderr."""
        for line in self._lines:
            say(line)
