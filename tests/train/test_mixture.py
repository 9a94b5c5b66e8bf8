"""Several datasets, weights and rows that are held out: what is trained on, and what is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import read_events
from hpclaunch.train import mixture
from tests.train.running import launch, make_run

pytestmark = pytest.mark.train


@dataclass
class Arguments:
    """What tokenizing reads of TRL's config."""

    assistant_only_loss: bool = True
    completion_only_loss: bool | None = None
    max_length: int | None = 256
    packing: bool = False
    truncation_mode: str = "keep_start"
    packing_strategy: str = "bfd"
    dataset_num_proc: int | None = None


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from hpclaunch.train import tiny_llama

    return AutoTokenizer.from_pretrained(tiny_llama.folder_of("builtin:tiny-llama"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [{"text": f"page number {n} of the manual"} for n in range(100)]
    file = tmp_path / "pages.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    turns = [
        {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(40)
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in turns))
    return file


def recipe(*sources: dict[str, Any], **data: Any) -> Recipe:
    changes = {"data.name": "", "data.validation_split": None, "data.sources": list(sources)}
    return load("tiny", (), {**changes, **{f"data.{key}": value for key, value in data.items()}})


def mixed(made: Recipe, tokenizer: Any) -> Any:
    rows = mixture.load_rows(made.data, made.objective, chat=True, check=True)
    return mixture.tokenize(rows, made, tokenizer, Arguments())[0]


def sentences(rows: Any, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(ids, skip_special_tokens=True) for ids in rows["input_ids"]]


def test_each_dataset_has_its_weight_its_limit_and_its_shape(
    texts: Path, chats: Path, tokenizer: Any
) -> None:
    made = recipe(
        {"name": str(texts), "limit": 50, "weight": 0.5},
        {"name": str(chats), "weight": 2.5, "split": "train[:20]"},
    )
    result = mixed(made, tokenizer)
    assert [(use["rows"], use["samples"]) for use in result.sources] == [(50, 25), (20, 50)]
    words = sentences(result.train, tokenizer)
    pages = [text for text in words if "page number" in text]
    assert len(pages) == len(set(pages)) == 25, "half of them, each once"
    counts = [words.count(text) for text in set(words) - set(pages)]
    assert sorted(counts) == [2] * 10 + [3] * 10
    assert words != sorted(words) and words[:25] != pages, "they are mixed"
    learnt = dict(zip(words, result.train["labels"], strict=True))
    assert -100 not in learnt[pages[0]][1:], "a text is learnt whole"
    assert -100 in learnt[next(iter(set(words) - set(pages)))], "a conversation in its answers"
    assert sum(use["tokens"] for use in result.sources) == sum(map(len, result.train["input_ids"]))


def test_the_same_seed_makes_the_same_rows_whatever_was_made_before(
    texts: Path, chats: Path, tokenizer: Any
) -> None:
    sources: list[dict[str, Any]] = [
        {"name": str(texts), "weight": 0.7},
        {"name": str(chats)},
    ]
    first = mixed(recipe(*sources, validation_fraction=0.1), tokenizer)
    again = mixed(recipe(*sources, validation_fraction=0.1), tokenizer)
    other = mixed(recipe(*sources, validation_fraction=0.1, seed=7), tokenizer)
    assert first.train["input_ids"] == again.train["input_ids"]
    assert first.validation["input_ids"] == again.validation["input_ids"]
    assert first.sources == again.sources
    assert first.validation["input_ids"] != other.validation["input_ids"]
    assert first.sources[0]["sha256"] != other.sources[0]["sha256"]


def test_what_is_held_out_is_trained_on_nowhere(tmp_path: Path, tokenizer: Any) -> None:
    once = [{"text": f"sentence {n}"} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in once * 2))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in once[:30]))
    made = recipe(
        {"name": str(tmp_path / "a.jsonl")},
        {"name": str(tmp_path / "b.jsonl"), "weight": 3},
        validation_fraction=0.2,
    )
    result = mixed(made, tokenizer)
    trained, held = (set(sentences(each, tokenizer)) for each in (result.train, result.validation))
    assert not trained & held and len(trained | held) == 60
    a, b = result.sources
    assert a["validation"] in (24, 25) and b["validation"] >= 6
    assert len(result.validation) == a["validation"] + b["validation"]


def test_one_dataset_keeps_its_order_and_gives_a_share(texts: Path, tokenizer: Any) -> None:
    made = load(
        "tiny",
        (),
        {
            "data.name": str(texts),
            "data.validation_split": None,
            "data.validation_fraction": 0.25,
        },
    )
    result = mixed(made, tokenizer)
    assert (len(result.train), len(result.validation)) == (75, 25)
    words = sentences(result.train, tokenizer)
    assert words == sorted(words, key=lambda text: int(text.split()[2]))
    whole = load("tiny", (), {"data.name": str(texts), "data.validation_split": None})
    (use,) = mixed(whole, tokenizer).sources
    assert (use["rows"], use["samples"], use["validation"]) == (100, 100, 0)
    assert len(use["sha256"]) == 64


def test_a_file_to_validate_on_beside_several_datasets(
    texts: Path, chats: Path, tokenizer: Any
) -> None:
    result = mixed(recipe({"name": str(texts)}, validation=str(chats)), tokenizer)
    assert (len(result.train), len(result.validation)) == (100, 40)


@pytest.mark.parametrize(
    ("weight", "fraction", "message"),
    [
        (0.001, None, r"weight 0\.001 of the 100 rows of .*pages\.jsonl takes none"),
        (1, 0.999, r"validation_fraction 0\.999 leaves nothing to train on of 100 rows"),
    ],
)
def test_what_leaves_nothing_is_refused(
    weight: float, fraction: float | None, message: str, texts: Path, tokenizer: Any
) -> None:
    made = recipe({"name": str(texts), "weight": weight}, validation_fraction=fraction)
    with pytest.raises(UserError, match=message):
        mixed(made, tokenizer)


def test_every_number_of_ranks_trains_on_the_same_rows(
    texts: Path, chats: Path, tmp_path: Path, tokenizer: Any
) -> None:
    sources = [{"name": str(texts), "weight": 0.5}, {"name": str(chats)}]
    overrides = [
        "data.name=null", "data.validation_split=null", f"data.sources={json.dumps(sources)}",
        "data.validation_fraction=0.1", "training.max_steps=2", "training.max_length=64",
        "training.per_device_train_batch_size=2", "training.eval_strategy=epoch",
        "training.packing=true", "checkpoints.every_steps=0", "tracking.tensorboard=false",
    ]  # fmt: skip
    folder = make_run(tmp_path / "run", overrides, per_node=2)
    done = launch(folder, 2, HPCLAUNCH_CACHE=str(tmp_path / "cache"))
    assert done.code == 0, done.said
    events = {event["event"]: event for event in read_events(folder.events)}
    assert events["eval"]["loss"] > 0
    assert "pages.jsonl: 100 rows x 0.5: 45 samples (56%), 10 held out" in done.out
    assert events["data"]["sources"] == list(mixed(load(str(folder.recipe)), tokenizer).sources)
    used = [(use["samples"], use["validation"]) for use in events["data"]["sources"]]
    assert used == [(45, 10), (36, 4)]
