"""Reward functions before submission: looked at without running them, and copied for the run.

A login node executes nothing of a user's file: its text is parsed. What only the job can show
(an import that fails there, a column that is missing) ends the job before it trains.
"""

from __future__ import annotations

import ast
from pathlib import Path

from hpclaunch.errors import UserError, nearest
from hpclaunch.launch.program import missing
from hpclaunch.recipe.rewards import KEY, RewardFunction, reward_functions
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import read_regular
from hpclaunch.run.reward_files import MOST_BYTES, checked_copy, write_copies
from hpclaunch.slurm.environment import refuse_secrets_in

NEEDED: dict[RewardFunction, tuple[str, ...]] = {
    RewardFunction("trl.rewards", "accuracy_reward"): ("math_verify",),
    RewardFunction("trl.rewards", "reasoning_accuracy_reward"): ("math_verify",),
}
"""Modules that TRL's own functions ask for in the first step, when the model is loaded already."""


def check_rewards(recipe: Recipe, folder: RunFolder, python: Path | None) -> None:
    """Refuse reward functions that the job could not call. Raises UserError.

    `folder`: of a run that goes on, whose copies stand for files that are gone. `python`: the job's
    environment; None where modules bring packages that this machine does not see.
    """
    for reward in reward_functions(recipe):
        if reward.is_file:
            _check_file(reward, read_reward_file(reward, folder))
        elif python is not None:
            top = reward.place.partition(".")[0]
            lacking = missing(python, [top, *NEEDED.get(reward, ())], Path("/"))
            if lacking:
                raise UserError(
                    f"{KEY}: {reward.place}:{reward.function}: the job's Python in {python} finds "
                    f"no module '{lacking[0]}'",
                    f"{python}/bin/python -m pip install {lacking[0].replace('_', '-')}",
                )


def copy_rewards(recipe: Recipe, folder: RunFolder, earlier: RunFolder | None = None) -> None:
    """Copy the files of a recipe's reward functions into a run folder, with their checksums.

    `earlier`: where copies lie that stand for files that are gone. Raises OSError, UserError.
    """
    files = {
        reward.copy_name: read_reward_file(reward, earlier or folder).encode("utf-8")
        for reward in reward_functions(recipe)
        if reward.is_file
    }
    if files:
        write_copies(folder, files)


def read_reward_file(reward: RewardFunction, folder: RunFolder) -> str:
    """Return a file's text, that of the run's copy where the file is gone. Raises UserError."""
    path = reward.file
    try:
        if not path.exists() and (folder.rewards / reward.copy_name).exists():
            path = checked_copy(folder, reward.copy_name)
        return read_regular(path.resolve(), MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{KEY}: no file {path}", "name one that exists: FILE.py:FUNCTION"
        ) from None
    except OSError as error:
        raise UserError(f"{KEY}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{KEY}: {path} is no text in UTF-8") from None


def _check_file(reward: RewardFunction, text: str) -> None:
    try:
        tree = ast.parse(text, reward.place)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = getattr(error, "msg", None) or str(error)
        raise UserError(f"{KEY}: {reward.place}{line}: {reason}") from None
    _check_imports(tree, reward)
    refuse_secrets_in(text, f"{reward.place}, of which the run keeps a copy")
    function = None
    named = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            named.append(statement.name)
            function = statement if statement.name == reward.function else function
    if function is not None:
        _check_signature(function, reward)
    elif reward.function not in _other_names(tree):
        raise UserError(
            f"{KEY}: {reward.place} has no function {reward.function}",
            nearest(reward.function, named) if named else "define it at the top of the file",
        )


def _check_signature(
    function: ast.FunctionDef | ast.AsyncFunctionDef, reward: RewardFunction
) -> None:
    """Refuse a function that cannot be called by keywords that it may not know."""
    arguments = function.args
    place = f"{KEY}: {reward.place}:{function.lineno}: {function.name}"
    required = arguments.posonlyargs[: len(arguments.posonlyargs) - len(arguments.defaults)]
    if required or (arguments.posonlyargs and not arguments.defaults):
        raise UserError(
            f"{place} takes {required[0].arg if required else 'values'} by position, and is called "
            "by keywords",
            f"def {function.name}(completions, **kwargs)",
        )
    if arguments.kwarg is None:
        raise UserError(
            f"{place} does not take all that the trainer hands it: prompts, completion_ids, "
            "trainer_state, the data's columns ...",
            f"add **kwargs: def {function.name}(completions, **kwargs)",
        )


def _other_names(tree: ast.Module) -> set[str]:
    """Return names that a file defines at its top otherwise than by def: imported or assigned."""
    names: set[str] = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {each.asname or each.name for each in statement.names}
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names |= {statement.name} if isinstance(statement, ast.ClassDef) else set()
        elif isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
            names.add(statement.id)
    return names


def _check_imports(tree: ast.AST, reward: RewardFunction) -> None:
    """Refuse imports of files that lie beside it: only the one file is copied into the run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise UserError(
                f"{KEY}: {reward.place}:{node.lineno}: a relative import, and only this file is "
                "copied into the run folder",
                "put what it needs into the file, or install it as a package",
            )
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            top = name.partition(".")[0]
            beside = reward.file.parent / top
            if beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file():
                raise UserError(
                    f"{KEY}: {reward.place}:{node.lineno}: imports {top}, which lies beside it and "
                    "is not copied into the run folder",
                    "put what it needs into the file, or install it as a package",
                )
