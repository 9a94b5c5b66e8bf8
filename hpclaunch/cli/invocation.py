"""What was typed: the command's own words, and the user's program after `--`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpclaunch.errors import UserError, nearest

WITH_PROGRAM = ("sbatch", "srun", "local", "monitor")
"""Commands that take a program after `--`."""

_ABOUT_THE_CALL = {"--dry-run", "--no-submit", "--wait", "--json"}
"""Options that change what is done with the script and not the script: left out of it, so that a
dry run prints the very bytes that are submitted."""


@dataclass(frozen=True)
class Invocation:
    """A command line taken apart."""

    words: tuple[str, ...]
    """For the command itself, its name first."""
    program: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """Return what goes into the script's comment and the record."""
        kept = tuple(word for word in self.words if word not in _ABOUT_THE_CALL)
        return ("hpclaunch", *kept, *(("--", *self.program) if self.program else ()))


def split(arguments: Sequence[str]) -> Invocation:
    """Split at the first `--`. Raises UserError where no program may or does follow."""
    if "--" not in arguments:
        return Invocation(tuple(arguments))
    at = list(arguments).index("--")
    words, program = tuple(arguments[:at]), tuple(arguments[at + 1 :])
    if not words or words[0] not in WITH_PROGRAM:
        raise UserError("'--' and a program after it go with sbatch, srun, local and monitor")
    if not program or program == ("-m",):
        raise UserError(
            "nothing stands after '--'", "write your program there: -- train.py my.yaml"
        )
    return Invocation(words, program)


def recipe_and_overrides(words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Tell the recipe from the `key=value` words. Raises UserError for more than one recipe."""
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import is_override, split_override

    recipes = [word for word in words if not is_override(word)]
    overrides = tuple(word for word in words if is_override(word))
    for word in overrides:
        split_override(word)
    if len(recipes) > 1:
        known = library.names()
        extra = next((word for word in recipes if word not in known), None)
        raise UserError(
            f"one recipe at a time: {' and '.join(recipes)}",
            "leave one out"
            if extra is None
            else f"'{extra}' is no key=value word; {nearest(extra, known)}",
        )
    return (recipes[0] if recipes else None), overrides
