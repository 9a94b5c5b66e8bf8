"""Checkpoints without pickle: what is written comes back bit for bit, what is forged is refused."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.api import CheckpointException

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import contents, digests, manifest
from hpclaunch.train.checkpoint.convert import convert
from hpclaunch.train.checkpoint.index import DTYPES
from hpclaunch.train.checkpoint.rng_state import load_rng_state, save_rng_state
from hpclaunch.train.checkpoint.state_tree import read_tree, write_tree
from hpclaunch.train.checkpoint.training_state import (
    load_checked,
    load_optimizer,
    load_scheduler,
    save_optimizer,
    save_scheduler,
)
from hpclaunch.train.checkpoint.typed_json import (
    CheckpointFormatError,
    decode,
    dump_json,
    parse_json,
    read_json,
)

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


def test_every_type_comes_back(tmp_path: Path) -> None:
    tensors = {name: torch.arange(12).reshape(3, 4).to(dtype) for name, dtype in DTYPES.items()}
    tensors |= {
        "empty": torch.empty(0, 5),
        "scalar": torch.tensor(2.5),
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "slice": torch.arange(20.0)[3:9:2],
    }
    values = {"tuple": (1, "x", None), "inf": math.inf, "list": [True, 2.0], "none": None}
    writer = write_tree({"t": tensors, "v": values}, tmp_path)
    loaded = read_tree(tmp_path)
    for name, tensor in tensors.items():
        other = loaded["t"][name]
        assert other.dtype == tensor.dtype
        assert other.shape == tensor.shape
        left, right = (each.contiguous().reshape(-1).view(torch.uint8) for each in (other, tensor))
        assert torch.equal(left, right), name
    assert loaded["v"] == values
    assert writer.written == {
        name: manifest.checksum(tmp_path / name) for name in ("dcp.json", SHARD)
    }, "the digests that were made while writing are those of the files"


def test_torch_reads_the_tensors_too(saved: Path) -> None:
    from torch.distributed.checkpoint import HuggingFaceStorageReader

    names = HuggingFaceStorageReader(str(saved)).read_metadata().state_dict_metadata
    assert names[WEIGHT].size == torch.Size([8, 8])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_with_their_types(value: Any) -> None:
    try:
        text = dump_json(value)
    except CheckpointFormatError:
        return  # nested deeper than any state is
    assert repr(decode(parse_json(text))) == repr(value)


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        decode(parse_json(text))
    except CheckpointFormatError as error:
        assert str(error)


@pytest.mark.parametrize("value", [{1, 2}, object(), torch.ones(1), {1: 2}, b"x", print])
def test_a_value_that_json_cannot_hold_is_refused_when_saving(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointFormatError):
        dump_json(value)


def test_optimizer_scheduler_and_generators_come_back(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
        torch.manual_seed(5)
        model = torch.nn.Linear(4, 4)
        groups = [{"params": [model.weight], "weight_decay": 0.1}, {"params": [model.bias]}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3)
        return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    def step(model: Any, optimizer: Any, scheduler: Any) -> None:
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()

    def draw() -> tuple[float, float]:
        return random.random(), float(np.random.rand())  # noqa: S311 - what is tested

    first = make()
    for _ in range(3):
        step(*first)
    save_optimizer(first[1], tmp_path)
    save_scheduler(first[2], tmp_path)
    save_rng_state(tmp_path, 0)
    second = make()
    second[0].load_state_dict(first[0].state_dict())
    load_optimizer(second[1], tmp_path)
    load_scheduler(second[2], tmp_path)
    assert load_rng_state(tmp_path, 0)
    drawn = draw()
    step(*first)
    assert load_rng_state(tmp_path, 0)
    assert draw() == drawn
    step(*second)
    assert torch.equal(first[0].weight, second[0].weight), "the next step is the same"
    assert not load_rng_state(tmp_path, 1), "a rank that was not there keeps its seed"


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("EXECUTED",))


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


def test_a_scheduler_of_another_kind_is_refused(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    (tmp_path / "scheduler.json").write_text('{"dict": {"step": 1}}')
    with pytest.raises(CheckpointFormatError, match="another scheduler"):
        load_scheduler(scheduler, tmp_path)
    (tmp_path / "scheduler.json").write_text("x" * (1 << 25))
    with pytest.raises(OSError, match="has more than"):
        read_json(tmp_path / "scheduler.json")


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A checkpoint as earlier versions wrote it, of one process with a sharded optimizer."""
    from torch.distributed.checkpoint import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    folder = tmp_path / "step-3"
    (folder / "optimizer_0").mkdir(parents=True)
    state = {
        "optimizer": {"state": {"w": {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1}]}
    }
    save(state, storage_writer=FileSystemWriter(folder / "optimizer_0"), no_dist=True)
    torch.save({"last_epoch": 3}, folder / "scheduler.pt")
    random_states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    torch.save(random_states, folder / "rng_state_1.pth")
    (folder / "trainer_state.json").write_text("{}")
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    entries = {name: {"bytes": 1, "crc32": 1} for name in names}
    document = {"format": 1, "step": 3, "ranks": 2, "files": entries}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def test_a_pickled_checkpoint_is_converted_on_request(pickled: Path) -> None:
    expected = (random.random(), float(np.random.rand()))  # noqa: S311 - what is tested
    assert "holds pickles" in str(manifest.find_damage(pickled))
    convert(pickled)
    assert manifest.find_damage(pickled) is None
    tree = read_tree(pickled / "optimizer_0")["optimizer"]
    assert tree == {"state": {"w": {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1}]}
    assert read_json(pickled / "scheduler.json") == {"last_epoch": 3}
    assert load_rng_state(pickled, 1)
    assert (random.random(), float(np.random.rand())) == expected  # noqa: S311
    assert manifest.read(pickled)[0]["ranks"] == 2  # type: ignore[index]
    assert [path.name for path in pickled.parent.iterdir()] == ["step-3"]


@pytest.mark.parametrize(
    "evil",
    [
        pickle.dumps(Evil()),
        b"\x80\x04X\x08\x00\x00\x00builtinsX\x04\x00\x00\x00eval\x93.",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04Nr\x00\x00\x00\x10.",
        b"\x80\x04\x8e\x00\x00\x00\x00\x02\x00\x00\x00x.",
        b"",
        b"hello",
    ],
)
def test_a_forged_pickle_runs_nothing_when_converted(
    evil: bytes, pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("optimizer_0/.metadata", "scheduler.pt"):
        other = tmp_path / "copy"
        shutil.copytree(pickled, other)
        (other / name).write_bytes(evil)
        with pytest.raises(UserError):
            convert(other)
        assert not Path("EXECUTED").exists()
        assert (other / "optimizer_0" / ".metadata").exists(), "the old files stay"
        shutil.rmtree(other)
