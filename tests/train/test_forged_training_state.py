"""States of optimizers and schedulers that somebody else may have written are refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpclaunch.errors import UserError
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.state_tree import write_tree
from hpclaunch.train.checkpoint.training_state import (
    load_optimizer,
    load_scaler,
    load_scheduler,
    save_scaler,
    save_scheduler,
)
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, read_json

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["state"]["0"].pop("step"),
        lambda state: state.update(state={"x": {}}),
        lambda state: state.update(param_groups=[]),
        lambda state: state.pop("param_groups"),
        lambda state: state.update(state=[1]),
    ],
)
def test_an_optimizer_of_another_kind_is_refused_in_a_line(change: Change, tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    forged = {**state, "state": {str(number): held for number, held in state["state"].items()}}
    change(forged)
    write_tree(forged, tmp_path / "step-1/optimizer_0")
    with pytest.raises(UserError, match="cannot be loaded") as refused:
        load_optimizer(optimizer, tmp_path / "step-1")
    assert "\n" not in str(refused.value)


def test_a_scheduler_without_a_part_of_its_state_is_refused(tmp_path: Path) -> None:
    """Where the schedule stands would stay as it is at the first step; a count of calls may."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))
    for step in range(3):
        optimizer.step()
        scheduler.step()
        assert scheduler.last_epoch == step + 1
    save_scheduler(scheduler, tmp_path)
    whole = json.loads((tmp_path / "scheduler.json").read_text())
    parts = whole["dict"]
    refused = []
    for key in sorted(parts):
        rest = {name: value for name, value in parts.items() if name != key}
        (tmp_path / "scheduler.json").write_text(json.dumps({"dict": rest}))
        fresh = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))
        try:
            load_scheduler(fresh, tmp_path)
        except CheckpointFormatError as error:
            assert "a part of the scheduler's state is missing" in str(error)
            refused.append(key)
        else:
            assert fresh.last_epoch == 3
    assert {"base_lrs", "last_epoch", "lr_lambdas", "_last_lr"} <= set(refused)
    assert "_step_count" not in refused


def test_a_gradient_scaler_of_another_kind_is_refused(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(1))
    save_scaler(scaler, tmp_path)
    whole = json.loads((tmp_path / "scaler.json").read_text())["dict"]
    load_scaler(scaler, tmp_path)
    for forged in ({"scale": "x"}, {}, {**whole, "scale": "x"}, {**whole, "more": 1}):
        (tmp_path / "scaler.json").write_text(json.dumps({"dict": forged}))
        with pytest.raises(CheckpointFormatError, match="another gradient scaler"):
            load_scaler(scaler, tmp_path)


def test_a_scheduler_of_another_kind_is_refused(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    (tmp_path / "scheduler.json").write_text('{"dict": {"step": 1}}')
    with pytest.raises(CheckpointFormatError, match="another scheduler"):
        load_scheduler(scheduler, tmp_path)
    for text in ('{"dict": {"last_epoch": "1"}}', '{"dict": {"base_lrs": [1.0, 2.0]}}'):
        (tmp_path / "scheduler.json").write_text(text)
        with pytest.raises(CheckpointFormatError, match="another scheduler"):
            load_scheduler(scheduler, tmp_path)
    save_scheduler(scheduler, tmp_path)
    load_scheduler(scheduler, tmp_path)
    (tmp_path / "scheduler.json").write_text("x" * (1 << 25))
    with pytest.raises(OSError, match="more than"):
        read_json(tmp_path / "scheduler.json")


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        ('{"global_step": 4, "log_history": [{"loss": NaN}]}', False),
        ("[" * 100_000, True),
        ('{"global_step": -1, "log_history": []}', True),
        ('{"global_step": "x", "log_history": []}', True),
        ('{"global_step": 4, "log_history": 5}', True),
    ],
)
def test_a_trainer_state_that_is_none_is_a_damaged_checkpoint(
    text: str, damaged: bool, tmp_path: Path
) -> None:
    """Whoever writes one can write its digests, too."""
    path = tmp_path / "trainer_state.json"
    path.write_text(text)
    manifest.write(tmp_path, {path.name: manifest.checksum(path)}, step=4, ranks=1)
    assert manifest.find_damage(tmp_path) == (f"{path.name} is damaged" if damaged else None)
