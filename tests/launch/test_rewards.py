"""Reward functions before submission: parsed, never run; copied with their checksums."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.rewards import check_rewards, copy_rewards
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.reward_files import checked_copy
from hpclaunch.train.rewards import RewardError, check_columns, load_rewards

GOOD = "def good(completions, **kwargs):\n    return [1.0 for _ in completions]\n"


def recipe(folder: Path, reference: str = "rewards.py:good") -> Recipe:
    words = [f"method.grpo.rewards=[{reference}]", "training.reward_weights=null"]
    path = folder / "recipe.yaml"
    path.write_text("name: x\nmodel: {name: a/b}\ndata: {name: c/d}\nmethod: {objective: grpo}\n")
    return load(str(path), [words[0].replace("[rewards", f"[{folder}/rewards"), words[1]])


def run(folder: Path) -> RunFolder:
    (folder / "run").mkdir(exist_ok=True)
    return RunFolder(folder / "run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def god(completions, **kwargs): ...\n", "has no function good.*did you mean 'god'"),
        ("def good(completions): ...\n", r"rewards.py:1: good does not take all.*\*\*kwargs"),
        ("def good(completions, /, **kwargs): ...\n", "takes completions by position"),
        ("def good(:\n", r"rewards.py:1: "),
        ("import helper\n" + GOOD, "rewards.py:1: imports helper, which lies beside it"),
        ("from . import x\n" + GOOD, "rewards.py:1: a relative import"),
        (f"KEY = 'sk-{'a1B2' * 8}'\n" + GOOD, r"a secret \('sk-a\.\.\.'\) stands in .*rewards.py"),
    ],
)
def test_what_the_job_could_not_call_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "rewards.py").write_text(text)
    with pytest.raises(UserError) as error:
        check_rewards(recipe(tmp_path), run(tmp_path), None)
    import re

    assert re.search(said, f"{error.value.message} {error.value.fix}")


def test_nothing_is_executed_here(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(f"raise SystemExit\n{GOOD}")
    check_rewards(recipe(tmp_path), run(tmp_path), None)
    with pytest.raises(UserError, match=r"no file .*nowhere\.py"):
        check_rewards(recipe(tmp_path, "nowhere.py:good"), run(tmp_path), None)


def test_a_package_must_be_in_the_jobs_python(tmp_path: Path) -> None:
    python = Path(sys.prefix)
    check_rewards(recipe(tmp_path, "trl.rewards:think_format_reward"), run(tmp_path), python)
    with pytest.raises(UserError, match="finds no module 'no_such_package'"):
        check_rewards(recipe(tmp_path, "no_such_package:good"), run(tmp_path), python)


def test_the_copy_is_what_runs_and_must_not_change(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(GOOD)
    folder = run(tmp_path)
    copy_rewards(recipe(tmp_path), folder)
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    assert (folder.rewards / "SHA256SUMS").read_text() == f"{digest}  rewards.py\n"
    (tmp_path / "rewards.py").unlink()
    check_rewards(recipe(tmp_path), folder, None)  # the run's copy stands for it
    copy_rewards(recipe(tmp_path), folder)
    (good,) = load_rewards(recipe(tmp_path), folder)
    assert good(completions=["a", "b"], prompts=["p", "p"]) == [1.0, 1.0]
    (folder.rewards / "rewards.py").write_text(GOOD.replace("1.0", "2.0"))
    with pytest.raises(UserError, match="is not the file of reward functions"):
        load_rewards(recipe(tmp_path), folder)
    copy = folder.rewards / "rewards.py"
    copy.unlink()
    copy.symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="cannot be read"):
        checked_copy(folder, "rewards.py")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1.0]", "good returned 1 rewards for 2 completions"),
        ("return None", "good returned NoneType, not a list"),
        ("return ['a', 1]", "good returned 'a', which is no number"),
        ("return [float('nan'), 1]", "good returned nan; return None where"),
        ("return 1 / 0", r"rewards\.py:2 \(good\): ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_reward_is_named(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(f"def good(completions, **kwargs):\n    {body}\n")
    folder = run(tmp_path)
    copy_rewards(recipe(tmp_path), folder)
    (good,) = load_rewards(recipe(tmp_path), folder)
    with pytest.raises(RewardError, match=said):
        good(completions=["a", "b"])


def test_a_column_that_the_data_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(
        "async def good(completions, solution, more=1, **kwargs):\n    return [None, 0.5]\n"
    )
    folder = run(tmp_path)
    copy_rewards(recipe(tmp_path), folder)
    (good,) = load_rewards(recipe(tmp_path), folder)
    check_columns([good], ["solution"])
    with pytest.raises(UserError, match="good takes 'solution', and the data has no such column"):
        check_columns([good], ["answer"])
    import asyncio
    import inspect

    assert inspect.iscoroutinefunction(good)
    assert asyncio.run(good(completions=["a", "b"], solution=[1, 2])) == [None, 0.5]
