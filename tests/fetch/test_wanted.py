"""What the words of `hpclaunch fetch` mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.fetch.download import environment_of
from hpclaunch.fetch.tasks import of_tasks
from hpclaunch.fetch.wanted import Wanted, wanted
from hpclaunch.harness.tasks import read_index


def test_a_recipe_names_its_model_its_data_and_its_kernel() -> None:
    assert wanted(["llama3-8b-lora", "model.attention=flash_attention_2", "data.revision=v2"]) == (
        Wanted("meta-llama/Meta-Llama-3-8B-Instruct", "model"),
        Wanted("kernels-community/flash-attn2", "kernel"),
        Wanted("tatsu-lab/alpaca", "dataset", "v2"),
    )


def test_what_is_on_this_machine_is_not_fetched(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    assert wanted(["tiny"]) == ()
    assert wanted(["tiny", "model.name=org/m", f"data.name={rows}"]) == (Wanted("org/m", "model"),)
    with pytest.raises(UserError, match="is on this machine"):
        wanted([str(tmp_path)])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("org/m", Wanted("org/m")),
        ("gpt2", Wanted("gpt2")),
        ("models/org/m@v1", Wanted("org/m", "model", "v1")),
        ("datasets/org/d", Wanted("org/d", "dataset")),
        ("datasets/openai/gsm8k:main@abc", Wanted("openai/gsm8k", "dataset", "abc", "main")),
        ("https://huggingface.co/datasets/org/d", Wanted("org/d", "dataset")),
        ("kernels/flash-attn2", Wanted("kernels-community/flash-attn2", "kernel")),
    ],
)
def test_names_of_the_hub(word: str, meant: Wanted) -> None:
    assert wanted([word, word]) == (meant,), "each once"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing is named"),
        (["training.seed=1", "org/m"], "changes a recipe, and none is named"),
        (["org/m:main"], "only datasets have configurations"),
        (["a b"], "is on this machine|no recipe and no hub id"),
        (["missing.yaml"], "recipe not found"),
    ],
)
def test_what_names_nothing_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        wanted(words)


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_any_word_is_a_repository_or_refused_in_one_line(word: str) -> None:
    try:
        found = wanted([word])
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(each.name for each in found)


def test_tasks_name_the_parts_of_datasets_that_they_read(tmp_path: Path) -> None:
    files = {
        "easy": "task: easy\ndataset_path: org/arc\ndataset_name: ARC-Easy\n",
        "hard": "include: easy.yaml\ntask: hard\ndataset_name: ARC-Hard\n",
        "mine": "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: x.jsonl}\n",
        "all": "group: all\ntask: [easy, hard, mine]\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    index = read_index([tmp_path])
    easy, hard = (Wanted("org/arc", "dataset", None, part) for part in ("ARC-Easy", "ARC-Hard"))
    assert set(of_tasks(["all"], index, None)) == {easy, hard}
    with pytest.raises(UserError, match=r"no task 'esy' .*did you mean easy"):
        list(of_tasks(["esy"], index, None))

    def find(word: str) -> list[Wanted]:
        return list(of_tasks([word], index, None)) if index.matching(word) else []

    evaluated = ["tiny", "evaluate.tasks=[easy]", "evaluate.every=checkpoint"]
    assert wanted(evaluated, find) == (easy,)
    assert wanted(["hard", "org/m", "gpt2"], find) == (hard, Wanted("org/m"), Wanted("gpt2"))


def test_jobs_may_be_offline_and_this_shell_may_not() -> None:
    site = {"HF_HOME": "/scratch/hf", "HF_HUB_OFFLINE": "1"}
    assert environment_of({"HOME": "/home/ada"}, site) == {
        "HOME": "/home/ada",
        "HF_HOME": "/scratch/hf",
    }
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set in this shell"):
        environment_of({"HF_HUB_OFFLINE": "1"}, {})
