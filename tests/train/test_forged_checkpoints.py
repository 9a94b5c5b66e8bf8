"""Checkpoints that somebody else may have written: what is forged is refused, and runs nothing."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load as load_recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import contents, digests, manifest
from hpclaunch.train.checkpoint.state_tree import read_tree, write_tree
from hpclaunch.train.checkpoint.training_state import (
    load_checked,
)
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.upload.remote_checkpoints import RemoteCheckpoints
from tests.run.making import run_in
from tests.train.pickles import Evil

SHARD = "__0_0.safetensors"
WEIGHT = "weights.first"
STEPS = "values.steps"
Change = Callable[[dict[str, Any]], object]


def refusal(folder: Path) -> str:
    """Return what is said of a folder that cannot be read."""
    with pytest.raises(UserError) as refused:
        load_checked(lambda: read_tree(folder), folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small tree on disk."""
    folder = tmp_path / "step-3" / "optimizer_0"
    numbers = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    weights = {"first": numbers, "second": numbers[:2].half(), "count": torch.tensor(3)}
    write_tree({"weights": weights, "values": {"steps": 7, "rate": 0.5}}, folder)
    return folder


@pytest.mark.parametrize("name", ["dcp.json", SHARD])
def test_a_pickle_is_not_read(
    name: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (saved / name).write_bytes(pickle.dumps(Evil()))
    (saved / ".metadata").write_bytes(pickle.dumps(Evil()))
    (saved / "__0.metadata").write_bytes(pickle.dumps(Evil()))
    refusal(saved)
    assert not Path("EXECUTED").exists()


def weight(**values: Any) -> Change:
    return lambda index: index["tensors"][WEIGHT].update(values)


def part(*chunks: Any) -> Change:
    return weight(chunks=[[offsets, sizes, SHARD] for offsets, sizes in chunks])


FORGED: dict[str, Change] = {
    "negative offset": part(([-1, 0], [8, 8])),
    "a part too large": part(([0, 0], [9, 8])),
    "a hole": part(([0, 0], [4, 8])),
    "an overlap of the right volume": part(([0, 0], [4, 8]), ([2, 0], [4, 8])),
    "a part twice": part(([0, 0], [8, 8]), ([0, 0], [8, 8])),
    "other dimensions": part(([0], [64])),
    "true as a size": weight(shape=[True, 64]),
    "a float as a size": weight(shape=[8.0, 8]),
    "a size of 2**60": weight(shape=[2**60, 8]),
    "a size of 2**40": weight(shape=[2**40], chunks=[[[0], [2**40], SHARD]]),
    "1,000 dimensions": weight(shape=[1] * 1000),
    "an unknown type": weight(dtype="os.system"),
    "another type": weight(dtype="F16"),
    "another type of the same size": weight(dtype="I32"),
    "a part in no file": weight(chunks=[[[0, 0], [8, 8], "__9_9.safetensors"]]),
    "a path of numbers too large": weight(path=[2**40]),
    "a path that is none": weight(path="weights"),
    "a path within another value": weight(path=["values", "steps", "x"]),
    "no chunks": lambda index: index["tensors"][WEIGHT].pop("chunks"),
    "a file outside": lambda index: index["files"].update({"/etc/passwd": {"bytes": 1}}),
    "a file above": lambda index: index["files"].update({f"../{SHARD}": {"bytes": 1}}),
    "a newline in a name": lambda index: index["files"].update({f"{SHARD}\n": {"bytes": 1}}),
    "a size that is text": lambda index: index["files"].update({SHARD: {"bytes": "1"}}),
    "another size": lambda index: index["files"].update({SHARD: {"bytes": 1}}),
    "a value of no type": lambda index: index["values"][STEPS].update(value={"call": ["os"]}),
    "a value nested deep": lambda index: index["values"][STEPS].update(value=nested(50)),
    "a tensor and a value": lambda index: index["values"].update({WEIGHT: index["values"][STEPS]}),
    "another format": lambda index: index.update(format="hpclaunch-dcp/9"),
    "no tensors": lambda index: index.pop("tensors"),
    "tensors that are a list": lambda index: index.update(tensors=[1]),
    "NaN": lambda index: index["values"][STEPS].update(value=math.nan),
}  # fmt: skip


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_index_is_refused(what: str, saved: Path) -> None:
    path = saved / "dcp.json"
    index = json.loads(path.read_text())
    FORGED[what](index)
    path.write_text(json.dumps(index))
    refusal(saved)


TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "truncated": lambda text: text[:-50],
    "a million deep": lambda text: "[" * 10**6,
    "a number of a million digits": lambda text: text.replace("[8, 8]", f"[8, {'9' * 10**6}]", 1),
    "a name twice": lambda text: text.replace('"format"', '"format": "x", "format"', 1),
    "no UTF-8": lambda text: text.encode().replace(b"weights", b"\xff\xfe", 1),
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "a number": lambda text: "1",
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_damaged_index_is_refused(what: str, saved: Path) -> None:
    path = saved / "dcp.json"
    text = TEXTS[what](path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refusal(saved)


def with_header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + size :]

    return changed


SHARDS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-64],
    "extended": lambda content: content + b"x" * 64,
    "empty": lambda content: b"",
    "a header of 2**62 bytes": lambda content: (1 << 62).to_bytes(8, "little") + content[8:],
    "a header of 99 MB": lambda content: (99_000_000).to_bytes(8, "little") + content[8:],
    "a header nested deep": lambda content: (10**5).to_bytes(8, "little") + b"[" * 10**5 + content,
    "offsets beyond": with_header(lambda h: h[WEIGHT].update(data_offsets=[0, 1 << 40])),
    "offsets reversed": with_header(lambda h: h[WEIGHT]["data_offsets"].reverse()),
    "a shape that overflows": with_header(lambda h: h[WEIGHT].update(shape=[2**62, 8])),
    "another type": with_header(lambda h: h[WEIGHT].update(dtype="I32")),
    "another shape": with_header(lambda h: h[WEIGHT].update(shape=[4, 16])),
    "no such tensor": with_header(lambda h: h.update(other=h.pop(WEIGHT))),
}


@pytest.mark.parametrize("what", SHARDS)
def test_a_forged_shard_is_refused(what: str, saved: Path) -> None:
    path = saved / SHARD
    path.write_bytes(SHARDS[what](path.read_bytes()))
    index = json.loads((saved / "dcp.json").read_text())
    index["files"][SHARD]["bytes"] = path.stat().st_size
    (saved / "dcp.json").write_text(json.dumps(index))
    refusal(saved)


def zero_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def own_copy(path: Path) -> None:
    path.symlink_to(Path("/etc/passwd"))


@pytest.mark.parametrize("name", ["dcp.json", SHARD])
@pytest.mark.parametrize("put", [zero_device, own_copy, os.mkfifo, Path.mkdir, lambda path: None])
def test_what_is_no_file_is_refused(name: str, put: Callable[[Path], object], saved: Path) -> None:
    (saved / name).unlink()
    put(saved / name)
    assert name in refusal(saved)


def test_another_dtype_or_kind_in_the_training_is_refused(saved: Path) -> None:
    from torch.distributed.checkpoint.state_dict_loader import load

    from hpclaunch.train.checkpoint.planners import JsonLoadPlanner
    from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader

    for here in (torch.zeros(8, 8, dtype=torch.bfloat16), torch.zeros(4, 16), "text"):
        state = {"weights": {"first": here}}
        with pytest.raises((CheckpointException, CheckpointFormatError, ValueError)):
            load(
                state,
                storage_reader=SafetensorsReader(saved),
                planner=JsonLoadPlanner(),
                no_dist=True,
            )


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "adapter_model.bin", "optimizer.bin", "x/adapter_model.json"]
)
def test_no_file_beside_those_on_the_list(name: str, saved: Path) -> None:
    checkpoint = saved.parent
    manifest.write(checkpoint, manifest.read_back(checkpoint, 0, 1), step=3)
    assert manifest.find_damage(checkpoint) is None
    (checkpoint / ".DS_Store").touch()
    assert manifest.find_damage(checkpoint) is None, "nothing opens a hidden file"
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(pickle.dumps(Evil()))
    assert name in str(manifest.find_damage(checkpoint))
    manifest.write(checkpoint, manifest.read_back(checkpoint, 0, 1), step=3)
    assert name in str(manifest.find_damage(checkpoint)), "not even on the list"


def test_links_in_a_checkpoint_are_seen(saved: Path) -> None:
    checkpoint = saved.parent
    manifest.write(checkpoint, manifest.read_back(checkpoint, 0, 1), step=3)
    shutil.move(saved / SHARD, checkpoint.parent / SHARD)
    (saved / SHARD).symlink_to(checkpoint.parent / SHARD)
    assert "no plain file" in str(manifest.find_damage(checkpoint))
    shutil.move(saved, checkpoint.parent / "away")
    saved.symlink_to(checkpoint.parent / "away")
    assert "optimizer_0" in str(manifest.find_damage(checkpoint))
    assert contents.names(checkpoint) == ["manifest.json", "optimizer_0"]


def test_a_manifest_is_held_against_what_the_run_wrote(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    path = tmp_path / "manifest.json"
    assert digests.find_difference(run, 3, "x") == (False, None)
    for text in ("first", "again"):
        path.write_text(text)
        digests.record(run, 3, path)
    run.checkpoint_digests.open("a").write('{"step": "x"}\nnonsense\n[1]\n')
    assert digests.find_difference(run, 3, "first") == (True, None)
    assert digests.find_difference(run, 3, "again") == (True, None)
    known, problem = digests.find_difference(run, 3, "forged")
    assert known
    assert "not what this run wrote" in str(problem)
    assert digests.find_difference(run, 4, "first") == (False, None)


def test_a_forged_copy_with_a_manifest_of_its_own_is_not_downloaded(
    saved: Path, tmp_path: Path
) -> None:
    run, checkpoint = run_in(tmp_path / "mine"), saved.parent
    copy = tmp_path / "attic/mine/checkpoints/step-3"
    shutil.copytree(checkpoint, copy)
    manifest.write(copy, manifest.read_back(copy, 0, 1), step=3, ranks=1)
    digests.record(run, 3, copy / manifest.NAME)
    recipe = load_recipe("tiny", [f"checkpoints.sync_to=file://{tmp_path}/attic"])
    context = DistContext(0, 1, "cpu", fsdp_version=2)
    assert RemoteCheckpoints(run, context, recipe).fetch("step-3") is None
    assert contents.names(run.checkpoints / "step-3") == contents.names(copy)
    shutil.rmtree(run.checkpoints)
    shard = copy / saved.name / SHARD
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    manifest.write(copy, manifest.read_back(copy, 0, 1), step=3, ranks=1)
    assert manifest.find_damage(copy) is None, "by itself it is whole"
    problem = RemoteCheckpoints(run, context, recipe).fetch("step-3")
    assert "not what this run wrote" in str(problem)
    assert not run.checkpoints.exists()
