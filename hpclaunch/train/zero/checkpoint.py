"""The state of a training under ZeRO in a checkpoint: each rank writes its own pieces.

They have the names, shapes and places that FSDP's have: fp32 master weights in
`pytorch_model_fsdp_0`, Adam's moments and steps in `optimizer_0`. The weights that the model
computes with are the masters, rounded. None of DeepSpeed's own files, which are pickles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader
from hpclaunch.train.checkpoint.storage_writer import SafetensorsWriter
from hpclaunch.train.checkpoint.training_state import OPTIMIZER, load_checked
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError
from hpclaunch.train.zero.partitions import Fragment, fragments, masters_to_weights
from hpclaunch.train.zero.pieces import Piece, PieceLoadPlanner, PieceSavePlanner

WEIGHTS = "pytorch_model_fsdp_0"
"""Folder of the weights; accelerate's name under FSDP."""
MOMENTS = ("exp_avg", "exp_avg_sq")
STEP = "step"
_ADAM = {*MOMENTS, STEP}


def save_state(engine: Any, folder: Path) -> list[SafetensorsWriter]:
    """Write weights and optimizer; return what wrote them. Collective.

    Raises OSError, CheckpointFormatError (as DCP wraps them: CheckpointException).
    """
    held = fragments(engine)
    writers = []
    for name, state in (
        (WEIGHTS, {"model": _weights(held)}),
        (OPTIMIZER, {"optimizer": _optimizer(engine, held)}),
    ):
        writer = SafetensorsWriter(folder / name)
        save(state, storage_writer=writer, planner=PieceSavePlanner())
        writers.append(writer)
    return writers


def load_weights(engine: Any, folder: Path) -> None:
    """Read the weights of a checkpoint into the model. Collective. Raises UserError."""
    held = fragments(engine)
    _read({f"model.{name}": each for name, each in _weights(held).items()}, folder / WEIGHTS)
    masters_to_weights(engine)


def load_optimizer(engine: Any, folder: Path) -> None:
    """Read moments, steps and settings into an optimizer that has not stepped yet. Collective.

    Raises UserError.
    """
    held = fragments(engine)
    optimizer = engine.optimizer.optimizer
    for each in held:
        if each.master not in optimizer.state:
            optimizer.state[each.master] = _zeros(each.master, optimizer)
    state = _optimizer(engine, held)
    steps = {name: values[STEP].clone() for name, values in state["state"].items()}
    wanted: dict[str, Any] = {}
    for name, values in state["state"].items():
        wanted |= {f"optimizer.state.{name}.{key}": values[key] for key in MOMENTS}
        wanted[f"optimizer.state.{name}.{STEP}"] = steps[name]
    settings = {
        f"optimizer.param_groups.{number}.{key}": value
        for number, group in enumerate(state["param_groups"])
        for key, value in group.items()
    }
    wanted |= settings
    _read(wanted, folder / OPTIMIZER)
    load_checked(lambda: _check_steps(steps), folder / OPTIMIZER)
    for each in held:
        optimizer.state[each.master][STEP].copy_(steps[each.name])
    for number, group in enumerate(optimizer.param_groups):
        for key in state["param_groups"][number]:
            group[key] = wanted[f"optimizer.param_groups.{number}.{key}"]


def _weights(held: list[Fragment]) -> dict[str, Piece]:
    return {each.name: Piece(each.shape, each.start, each.of(each.master)) for each in held}


def _optimizer(engine: Any, held: list[Fragment]) -> dict[str, Any]:
    """Return the optimizer's state, as views of it. Raises CheckpointFormatError."""
    optimizer = engine.optimizer.optimizer
    state: dict[str, dict[str, Any]] = {}
    for each in held:
        kept = optimizer.state[each.master]
        if set(kept) != _ADAM:
            raise CheckpointFormatError(f"{each.name}: the optimizer keeps {sorted(kept)}, no Adam")
        moments = {key: Piece(each.shape, each.start, each.of(kept[key])) for key in MOMENTS}
        state[each.name] = {**moments, STEP: kept[STEP]}
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    return {"state": state, "param_groups": groups}


def _zeros(master: torch.Tensor, optimizer: Any) -> dict[str, torch.Tensor]:
    """Return the state that Adam begins with. A fused one counts its steps on the GPU."""
    fused = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    step = torch.zeros((), dtype=torch.float32, device=master.device if fused else "cpu")
    return {STEP: step, **{key: torch.zeros_like(master.detach()) for key in MOMENTS}}


def _check_steps(steps: dict[str, torch.Tensor]) -> None:
    """Refuse parameters that differ in steps: under ZeRO one count is for many of them."""
    first = next(iter(steps.values()))
    for name, step in steps.items():
        if not torch.equal(step, first):
            raise CheckpointFormatError(f"{name}: it has another number of steps than others")


def _read(wanted: dict[str, Any], folder: Path) -> None:
    """Read a part of a checkpoint: all that is wanted, and nothing else may be in it."""
    reader = SafetensorsReader(folder)

    def read() -> None:
        more = set(reader.read_metadata().state_dict_metadata) - set(wanted)
        if more:
            raise CheckpointFormatError(f"it holds {min(more)[:80]}, which is not trained here")
        load(wanted, storage_reader=reader, planner=PieceLoadPlanner())

    load_checked(read, folder)
