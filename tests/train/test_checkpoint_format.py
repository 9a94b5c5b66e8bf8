"""Checkpoints without pickle: what is written comes back bit for bit, what is forged is refused."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.index import DTYPES
from hpclaunch.train.checkpoint.rng_state import load_rng_state, save_rng_state
from hpclaunch.train.checkpoint.state_tree import read_tree, write_tree
from hpclaunch.train.checkpoint.training_state import (
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
)

SHARD = "__0_0.safetensors"
WEIGHT = "weights.first"
STEPS = "values.steps"
Change = Callable[[dict[str, Any]], object]


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
