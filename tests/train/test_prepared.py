"""Prepared rows: kept by content, read by a later start, never trusted when damaged."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpclaunch.launch.prepare_ahead import prepare_ahead
from hpclaunch.recipe.load import load
from hpclaunch.run.content_cache import (
    QUANTIZED,
    BrokenEntryError,
    ContentCache,
    cache_root,
    kept_entries,
)
from hpclaunch.run.events import read_events
from hpclaunch.train.prepared import key as keys
from hpclaunch.train.prepared.content import Contents
from hpclaunch.train.prepared.key import key_of
from tests.train.conftest import short, write_jsonl
from tests.train.running import launch, losses, make_run, program
from tests.train.test_objective_runs import ROWS

KEY = "0a1b"


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    made = ContentCache(tmp_path / "cache")
    assert made.open()
    return made


def fill(folder: Path) -> dict[str, Any]:
    (folder / "train").mkdir()
    (folder / "train" / "data.arrow").write_bytes(b"rows")
    return {"rows": 4}


def test_an_entry_is_read_as_it_was_written(cache: ContentCache) -> None:
    assert cache.read(KEY, digests=True) is None
    cache.publish(KEY, fill)
    assert cache.read(KEY, digests=True) == {"rows": 4}
    cache.publish(KEY, lambda folder: {"rows": 5})  # another start was first
    assert cache.read(KEY, digests=True) == {"rows": 4}
    assert [each.name for each in cache.entries.iterdir()] == [KEY]
    assert cache.entry(KEY).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("broken", ["cut", "changed", "gone", "no meta", "other key", "link"])
def test_a_damaged_entry_is_none(cache: ContentCache, broken: str) -> None:
    cache.publish(KEY, fill)
    data, meta = (cache.entry(KEY) / name for name in ("train/data.arrow", "meta.json"))
    if broken == "cut":
        data.write_bytes(b"row")
    elif broken == "changed":
        data.write_bytes(b"ROWS")
    elif broken == "gone":
        data.unlink()
    elif broken == "no meta":
        meta.write_text("{", "utf-8")
    elif broken == "other key":
        meta.write_text(meta.read_text("utf-8").replace(KEY, "ffff"), "utf-8")
    else:
        meta.rename(meta.with_name("away"))
        meta.symlink_to("away")
    with pytest.raises(BrokenEntryError):
        cache.read(KEY, digests=True)
    cache.discard(KEY)
    assert cache.read(KEY, digests=True) is None


def test_a_failed_writer_leaves_nothing(cache: ContentCache) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        fill(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.publish(KEY, fail)
    assert list(cache.entries.iterdir()) == []


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "hpclaunch").mkdir(parents=True)
    (shared / "hpclaunch").chmod(0o777)
    assert not ContentCache(shared / "hpclaunch").open()
    root = cache_root({"HF_HOME": str(shared)})
    assert root == shared / f"hpclaunch-{os.getuid()}"
    assert ContentCache(root).open()


def test_an_entry_that_no_start_reads_is_removed(cache: ContentCache) -> None:
    cache.publish(KEY, fill)
    cache.publish("used", fill)
    old = time.time() - 61 * 86400
    os.utime(cache.entry(KEY) / "meta.json", (old, old))
    cache.publish("new", fill)
    assert cache.read(KEY, digests=False) is None
    assert cache.read("used", digests=False) is not None


def test_the_list_of_what_is_kept(cache: ContentCache) -> None:
    weights = ContentCache(cache.root, QUANTIZED)
    assert weights.open()
    cache.publish("rows", lambda folder: fill(folder) | {"samples": 4})
    cache.publish("damaged", fill)
    weights.publish("weights", lambda folder: fill(folder) | {"model": "a/b"})
    old = time.time() - 86400
    os.utime(cache.entry("rows") / "meta.json", (old, old))
    found = kept_entries(cache.root)
    assert [(each.kind, each.what, each.bytes) for each in found] == [
        ("quantized", "a/b", 4),
        ("prepared", "4 samples", 4),
    ]
    assert found[1].used == pytest.approx(old) and found[0].folder == weights.entry("weights")


def test_the_key_is_of_content_and_of_all_that_bears_on_the_rows(
    tmp_path: Path, tiny: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = Contents(tmp_path / "digests")

    def key(*words: str, data: Path = rows) -> str:
        made = key_of(load("tiny", [*short(tiny, data), *words]), contents)
        assert made is not None
        return made

    first = key()
    copied = tmp_path / "elsewhere.jsonl"
    copied.write_bytes(rows.read_bytes())
    assert key(data=copied) == first
    assert key("training.learning_rate=1e-5", "training.max_steps=9", "method.lora.r=4") == first
    copied.write_bytes(rows.read_bytes() + rows.read_bytes().splitlines()[0] + b"\n")
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}", "utf-8")
    named = f"training.chat_template_path={template}"
    others = [
        key(data=copied),
        key("training.max_length=65"),
        key("training.packing=true"),
        key("training.packing_strategy=bfd_split"),
        key("training.seed=7"),
        key("data.limit=3"),
        key("data.special_tokens=['<x>']"),
        key(named),
    ]
    template.write_text("{{ messages }}.", "utf-8")
    others.append(key(named))
    versions = {**keys.versions(), "trl": "0"}
    with monkeypatch.context() as patch:
        patch.setattr(keys, "versions", lambda: versions)
        others.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(keys, "code_digest", lambda: "0")
        others.append(key())
    assert len({first, *others}) == len(others) + 1


def test_what_cannot_be_told_without_loading_has_no_key(tmp_path: Path, tiny: Path) -> None:
    recipe = load("tiny", [f"model.name={tiny}", "data.name=owner/never-seen"])
    assert key_of(recipe, Contents(tmp_path)) is None


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("shuffled", [True, False])
def test_rows_are_cut_and_packed_as_trl_does_it(packing: bool, mode: str, shuffled: bool) -> None:
    from datasets import Dataset
    from trl import SFTTrainer

    from hpclaunch.train.prepared.rows import _arranged

    lengths = [3, 9, 12, 1, 7, 7, 2, 30]
    ids = [list(range(1, n + 1)) for n in lengths]
    labels = [[-100] * (n // 2) + row[n // 2 :] for n, row in zip(lengths, ids, strict=True)]
    rows = Dataset.from_dict({"input_ids": ids, "labels": labels})
    arguments = SimpleNamespace(
        max_length=12,
        packing_strategy="bfd",
        truncation_mode=mode,
        dataset_num_proc=None,
        shuffle_dataset=shuffled,
        seed=3,
    )
    own: Any = SimpleNamespace(completion_only_loss=True)
    theirs = SFTTrainer._prepare_dataset(own, rows, None, arguments, packing, None, "train")
    ours = _arranged(rows, arguments, packing)
    assert ours.column_names == theirs.column_names
    assert ours.to_list() == theirs.to_list()


@pytest.mark.train
def test_a_later_start_tokenizes_nothing_and_trains_the_same(
    tmp_path: Path, tiny: Path, rows: Path, lora_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCLAUNCH_CACHE", str(tmp_path / "cache"))

    def prepare(name: str, *words: str) -> tuple[Any, Any]:
        folder = make_run(tmp_path / name, [*short(tiny, rows), *words])
        return folder, program("hpclaunch.train.prepare", str(folder.root))

    _, first = prepare("a")
    assert first.code == 0, first.said
    assert "tokenized before" not in first.out
    folder, again = prepare("b")
    assert again.code == 0, again.said
    assert "tokenized before" in again.out
    done = launch(folder, 2)
    assert done.code == 0, done.said
    losses = [
        [event["loss"] for event in read_events(each.events) if event["event"] == "step"]
        for each in (folder, lora_run.folder)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)

    (arrow,) = (tmp_path / "cache" / "prepared").glob("*/train/*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-8])
    _, mended = prepare("c")
    assert mended.code == 0, mended.said
    assert "is damaged" in mended.err
    assert "tokenized before" not in mended.out
    assert "tokenized before" in prepare("d")[1].out
    ahead = load("tiny", [*short(tiny, rows), "training.max_length=48"])
    assert prepare_ahead(ahead, Path(sys.prefix), os.environ) == 0
    assert "tokenized before" in prepare("e", "training.max_length=48", "training.seed=42")[1].out
    pointer = json.loads(folder.prepared.read_text("utf-8"))
    assert set(pointer) == {"key", "request"}


@pytest.mark.train
@pytest.mark.parametrize("objective", ["kto"])  # its trainer pairs the rows that are kept
def test_rows_of_other_objectives_are_kept_too(
    tmp_path: Path, tiny: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCLAUNCH_CACHE", str(tmp_path / "cache"))
    data = write_jsonl(tmp_path / "rows.jsonl", [ROWS[objective](n) for n in range(32)])
    seen, kept = [], []
    for name, prepared in (("plain", False), ("kept", True), ("again", True)):
        folder = make_run(tmp_path / name, short(tiny, data, steps=2), base=objective)
        if prepared:
            done = program("hpclaunch.train.prepare", str(folder.root))
            assert done.code == 0, done.said
            assert ("tokenized before" in done.out) is (name == "again")
        if name == "kept":
            kept = sorted((tmp_path / "cache" / "prepared").glob("*/**/*"))
            continue
        done = launch(folder, 2)
        assert done.code == 0, done.said
        seen.append(losses(folder))
    assert seen[0] == pytest.approx(seen[1], abs=1e-6)
    assert kept == sorted((tmp_path / "cache" / "prepared").glob("*/**/*")), "nobody wrote there"
