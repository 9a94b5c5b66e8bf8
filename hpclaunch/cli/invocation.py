"""What was typed: the command's own arguments, and the user's program after `--`."""

from __future__ import annotations

from collections.abc import Sequence

from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen

WITH_PROGRAM = ("sbatch", "srun", "local", "sweep", "monitor")
"""Commands that take a program after `--`."""

_NOT_RECORDED = {"--dry-run", "--no-submit", "--wait", "--json"}
"""Options that change what is done with the script and not the script: left out of it, so that a
dry run prints the very bytes that are submitted."""


@frozen
class Invocation:
    """A parsed command line."""

    arguments: tuple[str, ...]
    """Of the command itself, its name first."""
    program: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """Return what goes into the script's comment and the record."""
        kept = tuple(each for each in self.arguments if each not in _NOT_RECORDED)
        return ("hpclaunch", *kept, *(("--", *self.program) if self.program else ()))


def split(arguments: Sequence[str]) -> Invocation:
    """Split at the first `--`. Raises UserError where no program may or does follow."""
    if "--" not in arguments:
        return Invocation(tuple(arguments))
    at = list(arguments).index("--")
    own, program = tuple(arguments[:at]), tuple(arguments[at + 1 :])
    if not own or own[0] not in WITH_PROGRAM:
        raise UserError(
            "'--' and a program after it go with sbatch, srun, local, sweep and monitor"
        )
    if not program or program == ("-m",):
        raise UserError(
            "there is nothing after '--'", "write your program there: -- train.py my.yaml"
        )
    return Invocation(own, program)


def recipe_and_overrides(arguments: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the recipe and the `key=value` overrides.

    Raises UserError for several recipes, and for one key with two values.
    """
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import is_override, split_override

    recipes = [argument for argument in arguments if not is_override(argument)]
    overrides = tuple(argument for argument in arguments if is_override(argument))
    given: dict[str, str] = {}
    for override in overrides:
        split_override(override)
        key, _, value = override.partition("=")
        if given.setdefault(key, value) != value:
            raise UserError(f"{key} is given twice: {given[key]} and {value}", "leave one out")
    if len(recipes) > 1:
        known = library.names()
        extra = next((name for name in recipes if name not in known), None)
        raise UserError(
            f"one recipe at a time: {' and '.join(recipes)}",
            "leave one out"
            if extra is None
            else f"'{extra}' is neither a recipe nor key=value; {nearest(extra, known)}",
        )
    return (recipes[0] if recipes else None), overrides
