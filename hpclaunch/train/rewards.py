"""The user's reward functions, as the ranks load and call them."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.rewards import KEY, RewardFunction, reward_functions
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.reward_files import checked_copy

FAILED = "reward function failed"
"""How the error of a reward function begins; `hpclaunch why` knows it by this."""


class RewardError(Exception):
    """A reward function raised an exception, or returned what is no reward."""


def load_rewards(recipe: Recipe, folder: RunFolder) -> list[Callable[..., Any]]:
    """Return the recipe's reward functions, each with its errors named.

    Files are the copies in the run folder. Raises UserError for a copy that was changed, a file
    that cannot be imported and a function that is not there.
    """
    modules: dict[str, ModuleType] = {}
    loaded = []
    for each in reward_functions(recipe):
        if each.place not in modules:
            modules[each.place] = _module(each, folder)
        function = getattr(modules[each.place], each.function, None)
        if not callable(function):
            raise UserError(f"{KEY}: {each.place} has no function {each.function}")
        loaded.append(_guarded(function, each))
    return loaded


def _module(reward: RewardFunction, folder: RunFolder) -> ModuleType:
    """Import a reward function's file or module. Raises UserError."""
    try:
        if not reward.is_file:
            return importlib.import_module(reward.place)
        return _from_file(checked_copy(folder, reward.copy_name), reward)
    except UserError:
        raise
    except BaseException as error:  # whatever the code of a user's module raises
        if isinstance(error, KeyboardInterrupt):
            raise
        place = _last_place(error, reward) or reward.place
        raise UserError(
            f"{KEY}: {place}: cannot be imported: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}",
            "correct it, then: hpclaunch resume",
        ) from error


def _from_file(copy: Path, reward: RewardFunction) -> ModuleType:
    name = f"hpclaunch_rewards_{copy.stem}"
    spec = importlib.util.spec_from_file_location(name, copy)
    if spec is None or spec.loader is None:
        raise UserError(f"{KEY}: {copy} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


def check_columns(functions: Sequence[Callable[..., Any]], columns: Sequence[str]) -> None:
    """Refuse functions that need what the data does not have. Raises UserError.

    `columns`: those that the data hands on.
    """
    handed = {*HANDED, *columns}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            continue  # compiled code need not say
        for each in parameters:
            named = each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            if named and each.default is each.empty and each.name not in handed:
                raise UserError(
                    f"{KEY}: {getattr(function, '__name__', function)} takes '{each.name}', and "
                    f"the data has no such column: {', '.join(columns) or 'only prompt'}",
                    "add the column to the data, or take the parameter out",
                )


HANDED = (
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"
)  # fmt: skip
"""What TRL hands every reward function beside the data's columns."""


def _guarded(function: Callable[..., Any], reward: RewardFunction) -> Callable[..., Any]:
    """Return the function with its errors named by file and line, and its result checked."""

    def result(values: Any, completions: Sequence[Any]) -> list[float | None]:
        return _checked(values, len(completions), reward)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def called_later(*, completions: Sequence[Any], **more: Any) -> list[float | None]:
            try:
                values = await function(completions=completions, **more)
            except Exception as error:
                raise RewardError(_failed(error, reward)) from error
            return result(values, completions)

        return called_later

    @functools.wraps(function)
    def called(*, completions: Sequence[Any], **more: Any) -> list[float | None]:
        try:
            values = function(completions=completions, **more)
        except Exception as error:
            raise RewardError(_failed(error, reward)) from error
        return result(values, completions)

    called.__name__ = reward.function  # of a partial or an instance, too
    return called


def _checked(values: Any, wanted: int, reward: RewardFunction) -> list[float | None]:
    """Return rewards as numbers. Raises RewardError where they are none, or too few."""
    place = f"{FAILED}: {reward.place}: {reward.function}"
    try:
        listed = list(values)
    except TypeError:
        raise RewardError(
            f"{place} returned {type(values).__name__}, not a list of numbers"
        ) from None
    if len(listed) != wanted:
        raise RewardError(f"{place} returned {len(listed)} rewards for {wanted} completions")
    rewards: list[float | None] = []
    for value in listed:
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            raise RewardError(f"{place} returned {value!r:.80}, which is no number") from None
        if number is not None and not math.isfinite(number):
            raise RewardError(
                f"{place} returned {number}; return None where a reward does not apply"
            )
        rewards.append(number)
    return rewards


def _failed(error: BaseException, reward: RewardFunction) -> str:
    """Return a reward function's error in a line: where, and what."""
    place = _last_place(error, reward) or f"{reward.place} ({reward.function})"
    words = " ".join(str(error).split())[:300]
    return f"{FAILED}: {place}: {type(error).__name__}{': ' if words else ''}{words}"


def _last_place(error: BaseException, reward: RewardFunction) -> str | None:
    """Return `FILE:LINE (FUNCTION)` of the last line of the user's own that ran, if it is known.

    The file is the user's, of which the run folder holds a copy.
    """
    if isinstance(error, SyntaxError) and error.lineno and reward.is_file:
        return f"{reward.place}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if Path(each.filename).name == reward.copy_name]
    if not reward.is_file:
        own = [each for each in frames if reward.place.replace(".", "/") in each.filename]
    if not own:
        return None
    place = reward.place if reward.is_file else own[-1].filename
    return f"{place}:{own[-1].lineno} ({own[-1].name})"
