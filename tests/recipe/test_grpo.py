"""GRPO in a recipe: its rewards by name, its groups, its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.groups import check_groups, of_one_process, prompts_at_once
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.recipe.rewards import reward_functions
from hpclaunch.recipe.shapes import convert, detect, left_out, row_problem

REWARDS = "method: {objective: grpo, grpo: {rewards: [rewards.py:good]}}\n"


def recipe_file(folder: Path, method: str = REWARDS) -> str:
    path = folder / "recipe.yaml"
    path.write_text(f"name: x\nmodel: {{name: a/b}}\ndata: {{name: c/d}}\n{method}")
    return str(path)


def test_files_count_from_the_recipe_and_survive_being_written(tmp_path: Path) -> None:
    recipe = load(recipe_file(tmp_path))
    (reward,) = reward_functions(recipe)
    assert reward.file == tmp_path / "rewards.py" and reward.function == "good"
    again = tmp_path / "elsewhere" / "recipe.yaml"
    again.parent.mkdir()
    again.write_text(to_yaml(recipe))
    assert load(str(again)) == recipe
    assert "max_length" not in recipe.training


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method.grpo.rewards=[]"], "needs a reward function"),
        (["method.grpo.rewards=[rewards.py]"], "'rewards.py' names no function"),
        (["method.grpo.rewards=[my-file.sh:good]"], "names no function"),
        (["method.grpo.rewards=[a.py:good, b.py:good]"], "two functions called good"),
        (["method.grpo.rewards=[a/r.py:good, b/r.py:bad]"], "two files called r.py"),
        (["training.reward_weights=[1, 2]"], "has 2 weights for 1 reward functions"),
        (["method.objective=sft"], "belongs to objective grpo"),
        (["training.max_length=512"], "two lengths in place of training.max_length"),
        (["training.use_vllm=true"], "does not take training.use_vllm"),
        (["training.loss_type=ppo"], "has no loss 'ppo'"),
        (["training.num_generations=1"], "cannot be"),
        (["checkpoints.best=eval_loss", "data.validation_split=test"], "does not say which"),
        (["fsdp.version=1"], "FSDP 2 only"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load(recipe_file(tmp_path), words)


def test_groups_are_whole(tmp_path: Path) -> None:
    recipe = load(recipe_file(tmp_path))  # batch 1, accumulation 8, 8 completions a prompt
    check_groups(recipe, 3)
    assert prompts_at_once(recipe, 3) == 3
    recipe = load(recipe_file(tmp_path), ["training.gradient_accumulation_steps=2"])
    check_groups(recipe, 4)
    with pytest.raises(UserError, match=r"4 completions at .* no whole groups of 8") as refused:
        check_groups(recipe, 2)
    assert "gradient_accumulation_steps=4 or a multiple" in refused.value.fix
    one = of_one_process(recipe)
    check_groups(one, 1)
    words = ["data.validation_split=test", "training.per_device_eval_batch_size=3"]
    with pytest.raises(UserError, match="per_device_eval_batch_size"):
        check_groups(load(recipe_file(tmp_path), words), 1)


def row(**values: Any) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": "q"}], **values}


def test_rows_are_prompts_and_whatever_rewards_take() -> None:
    assert detect(["prompt", "answer"], "auto", "rows", "grpo") == "prompt"
    assert convert(row(answer="a", label=1), "prompt", chat=True) == row()
    assert convert({"prompt": "q"}, "prompt", chat=True) == {"prompt": "q"}
    system = convert(row(system="s"), "prompt", chat=True)["prompt"]
    assert [turn["role"] for turn in system] == ["system", "user"]
    assert left_out(["prompt", "answer", "image"], "prompt", "grpo") == ["image"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (row(completion="c"), "has a column 'completion'"),
        (row(trainer_state=1), "has a column 'trainer_state'"),
        ({"prompt": " "}, "'prompt' is empty"),
        ({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
         "ends with an answer"),
        (row(images=["x.png"]), "'images'"),
        (row(chat_history=[["q", "a"]]), "'history'"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    problem = row_problem(wrong, "prompt")
    assert problem is not None and said in problem


def test_rows_of_another_objective_are_named() -> None:
    with pytest.raises(UserError, match="prompts without an answer, which GRPO takes"):
        detect(["prompt", "solution"], "auto", "rows", "dpo")
    with pytest.raises(UserError, match="answers without a judgement, which SFT takes"):
        detect(["messages"], "auto", "rows", "grpo")
