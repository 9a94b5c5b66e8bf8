"""`method.grpo`: references to reward functions, and what of the section cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.recipe.best import best_by_loss
from hpclaunch.recipe.schema import Recipe
from hpclaunch.shipped import shipped

KEY = "method.grpo.rewards"
BUILTIN = "builtin:rewards.py"
"""The file of reward functions that comes with the package."""
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class RewardFunction(NamedTuple):
    """A reward function, as a recipe names it."""

    place: str
    """A file, or a module of the job's environment."""
    function: str

    @property
    def is_file(self) -> bool:
        """Whether it stands in a file, which is copied into the run folder."""
        return self.place.endswith(".py")

    @property
    def file(self) -> Path:
        """The file that it stands in."""
        if self.place == BUILTIN:
            return Path(str(shipped("recipe", "data", "rewards.py")))
        return Path(self.place)

    @property
    def copy_name(self) -> str:
        """Name of the file's copy in the run folder."""
        return self.file.name


def reward_function(reference: str) -> RewardFunction:
    """Return what `FILE.py:FUNCTION` or `MODULE:FUNCTION` names. Raises UserError."""
    place, _, function = reference.rpartition(":")
    module = _MODULE.fullmatch(place)
    if not function.isidentifier() or not (place.endswith(".py") or module):
        raise UserError(
            f"{KEY}: {reference!r} names no function",
            "write FILE.py:FUNCTION, or MODULE:FUNCTION of an installed package",
        )
    return RewardFunction(place, function)


def reward_functions(recipe: Recipe) -> list[RewardFunction]:
    """Return the recipe's reward functions, in its order. Raises UserError."""
    return [reward_function(each) for each in recipe.method.grpo.rewards]


def _references(document: Document) -> Iterator[list[Any]]:
    method = document.data.get("method")
    section = method.get("grpo") if isinstance(method, dict) else None
    rewards = section.get("rewards") if isinstance(section, dict) else None
    if isinstance(rewards, list):
        yield rewards


def absolute_rewards(
    document: Document, folder: Path, keys: Mapping[str, Any] | None = None
) -> None:
    """Make relative files of reward functions absolute, in place. `keys`: only if among these."""
    if keys is not None and KEY not in keys:
        return
    for rewards in _references(document):
        for at, reference in enumerate(rewards):
            place, colon, function = str(reference).rpartition(":")
            if isinstance(reference, str) and place.endswith(".py") and place != BUILTIN:
                path = (folder / Path(place).expanduser()).resolve()
                rewards[at] = f"{path}{colon}{function}"


def check_grpo(document: Document, recipe: Recipe) -> None:
    """Refuse GRPO without rewards, and what it cannot be combined with. Raises UserError."""
    section = recipe.method.grpo
    where = document.where(("method", "grpo", "rewards"))
    if not recipe.objective_spec.writes_completions:
        if section.rewards or section.server.enabled:
            raise UserError(
                f"{where}: method.grpo belongs to objective grpo, and this is {recipe.objective}",
                "set method.objective: grpo, or take the section out",
            )
        return
    if not section.rewards:
        raise UserError(
            f"{where}: objective {recipe.objective} needs a reward function",
            f"set {KEY}: [rewards.py:FUNCTION]",
        )
    functions = []
    for reference in section.rewards:
        try:
            functions.append(reward_function(reference))
        except UserError as error:
            raise UserError(f"{where}: {error.message}", error.fix) from None
    _check_names(where, functions)
    weights = recipe.training.get("reward_weights")
    if isinstance(weights, list) and len(weights) != len(functions):
        raise UserError(
            f"{document.where(('training', 'reward_weights'))}: training.reward_weights has "
            f"{len(weights)} weights for {len(functions)} reward functions",
            f"give one for each of {KEY}",
        )
    if best_by_loss(recipe):
        raise UserError(
            f"{document.where(('checkpoints', 'best'))}: checkpoints.best: the evaluation loss of "
            "GRPO does not say which model is better",
            "take it out, or name one of evaluate.tasks",
        )
    if section.server.enabled and recipe.method.kind == "qlora":
        raise UserError(
            f"{document.where(('method', 'grpo', 'server'))}: method.grpo.server takes weights in "
            "16 bits, and QLoRA holds them in 4",
            "set method.kind: lora, or server.enabled: false",
        )
    if recipe.fsdp.version == 1:
        raise UserError(
            f"{document.where(('fsdp', 'version'))}: objective {recipe.objective} generates "
            "with FSDP 2 only",
            "set fsdp.version: 2",
        )


def _check_names(where: str, functions: list[RewardFunction]) -> None:
    """Refuse two functions that logs, or two files that the run folder, could not tell apart."""
    names = [each.function for each in functions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{where}: {KEY}: two functions called {twice}, whose rewards logs could "
            "not tell apart",
            "rename one",
        )
    files = {each.file for each in functions if each.is_file}
    for name in {each.name for each in files}:
        if len([each for each in files if each.name == name]) > 1:
            raise UserError(f"{where}: {KEY}: two files called {name}", "rename one")
