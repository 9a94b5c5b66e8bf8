"""The training's state in a checkpoint: optimizer, scheduler, scaler; weights where sharded.

Transformers writes them as pickles. Here they are safetensors and JSON: whoever can write into a
checkpoint can change numbers, and no more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from accelerate.utils import fsdp_utils
from torch.distributed.checkpoint.api import CheckpointException

from hpclaunch.errors import UserError
from hpclaunch.train.checkpoint.planners import JsonLoadPlanner, JsonSavePlanner
from hpclaunch.train.checkpoint.state_tree import read_tree, write_tree
from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader
from hpclaunch.train.checkpoint.storage_writer import SafetensorsWriter
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, read_json, write_json

OPTIMIZER = "optimizer_0"
"""Folder of the optimizer's state; accelerate's name under FSDP."""
SCHEDULER = "scheduler.json"
SCALER = "scaler.json"


class Writing:
    """The parts of one checkpoint that DCP writes, now or while training goes on."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        """Of what is still being written."""
        self.writers: list[SafetensorsWriter] = []


@contextlib.contextmanager
def safetensors_dcp(groups: list[Any] | None = None) -> Iterator[Writing]:
    """Let DCP's save and load, as accelerate calls them, write and read safetensors and JSON.

    With `groups`, a process group for each save, saves are asynchronous: the futures of what is
    still being written are collected. Loads raise UserError for what cannot be loaded.
    """
    save, load = dcp.save, dcp.load
    writing = Writing()

    def save_safely(state_dict: Any, *, storage_writer: Any, planner: Any = None) -> None:
        writer = SafetensorsWriter(Path(storage_writer.path))
        writing.writers.append(writer)
        arguments = {"storage_writer": writer, "planner": JsonSavePlanner()}
        if groups is None or len(writing.futures) == len(groups):
            save(state_dict, **arguments)
            return
        group = groups[len(writing.futures)]
        writing.futures.append(dcp.async_save(state_dict, **arguments, process_group=group))

    def load_safely(state_dict: Any, *, storage_reader: Any, planner: Any = None) -> None:
        folder = Path(storage_reader.path)
        load_checked(lambda: load(state_dict, **_reading(folder)), folder)

    dcp.save, dcp.load = save_safely, load_safely
    fsdp_utils.torch = _WholeStates(writing)
    try:
        yield writing
    finally:
        dcp.save, dcp.load = save, load
        fsdp_utils.torch = torch


class _WholeStates:
    """torch, as accelerate's FSDP code sees it: whole states are written and read without pickle.

    With `fsdp.state_dict: full` the first rank saves all, by torch.save.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def save(self, state: dict[str, Any], path: str) -> None:
        """Write a folder beside where the pickle would be. Raises OSError."""
        self._writing.writers.append(write_tree(state, _whole_folder(path)))

    def load(self, path: str, **_: Any) -> dict[str, Any]:
        """Read it. Raises UserError."""
        state: dict[str, Any] = {}
        folder = _whole_folder(path)
        load_checked(lambda: state.update(read_tree(folder)), folder)
        return state


def _whole_folder(path: str) -> Path:
    """Return `optimizer_0` for `optimizer.bin`: accelerate's names of sharded states."""
    return Path(path).with_name(f"{Path(path).stem}_0")


def _reading(folder: Path) -> dict[str, Any]:
    return {"storage_reader": SafetensorsReader(folder), "planner": JsonLoadPlanner()}


def load_checked(load: Callable[[], object], folder: Path) -> None:
    """Call DCP's `load`. Raises UserError, the same on all ranks, for what cannot be loaded."""
    logging.getLogger().addFilter(_is_no_traceback)
    try:
        load()
    except CheckpointException as error:  # not an Exception, by its own declaration
        rank, (cause, _) = min(error.failures.items())
        raise _refusal(folder, f"rank {rank}: {_reason(cause)}") from error
    except (CheckpointFormatError, OSError) as error:
        raise _refusal(folder, _reason(error)) from error
    finally:
        logging.getLogger().removeFilter(_is_no_traceback)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """Drop what DCP logs of an index that cannot be read: a traceback, before the error itself."""
    return not record.getMessage().startswith("Global metadata is not found")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    return str(error)


def _refusal(folder: Path, why: str) -> UserError:
    step = folder.parent
    return UserError(
        f"{step.name}/{folder.name} cannot be loaded: {' '.join(why.split())[:300]}",
        f"to go on from the checkpoint before, remove {step}",
    )


def save_optimizer(optimizer: Any, folder: Path) -> SafetensorsWriter:
    """Write the state of an optimizer that is not sharded, from one process."""
    state = optimizer.state_dict()
    numbered = {str(number): held for number, held in state["state"].items()}
    return write_tree({**state, "state": numbered}, folder / OPTIMIZER)


def load_optimizer(optimizer: Any, folder: Path) -> None:
    """Restore what `save_optimizer` wrote, on every process by itself. Raises UserError."""
    state: dict[str, Any] = {}
    load_checked(lambda: state.update(read_tree(folder / OPTIMIZER)), folder / OPTIMIZER)
    try:
        numbers = {int(number): held for number, held in state["state"].items()}
        optimizer.load_state_dict({**state, "state": numbers})
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        why = f"it is no state of this optimizer: {type(e).__name__}: {e}"
        raise _refusal(folder / OPTIMIZER, why) from e


def save_scheduler(scheduler: Any, folder: Path) -> None:
    """Write a learning rate scheduler's state. Raises OSError, CheckpointFormatError."""
    write_json(folder / SCHEDULER, scheduler.state_dict())


def load_scheduler(scheduler: Any, folder: Path) -> None:
    """Restore it. Raises OSError, CheckpointFormatError."""
    state = read_json(folder / SCHEDULER)
    now = scheduler.state_dict()
    if not isinstance(state, dict) or not all(
        key in now and _alike(value, now[key]) for key, value in state.items()
    ):
        raise CheckpointFormatError(f"{SCHEDULER}: it is another scheduler's")
    missing = {key: value for key, value in now.items() if key not in state}
    # Another PyTorch may count calls otherwise; all else is where the schedule stands.
    if not all(key.startswith("_") and isinstance(now[key], int) for key in missing):
        raise CheckpointFormatError(f"{SCHEDULER}: a part of the scheduler's state is missing")
    scheduler.load_state_dict({**missing, **state})


def _alike(value: Any, now: Any) -> bool:
    """Return whether a value of a state is of the kind that a scheduler has there now."""
    if isinstance(now, list | tuple) and isinstance(value, list | tuple):
        return len(value) == len(now) and all(map(_alike, value, now))
    if isinstance(now, dict) and isinstance(value, dict):
        return True
    numbers = isinstance(now, int | float) and isinstance(value, int | float)
    return numbers or now is None or type(value) is type(now)


def save_scaler(scaler: Any, folder: Path) -> None:
    """Write a gradient scaler's state. Raises OSError, CheckpointFormatError."""
    write_json(folder / SCALER, scaler.state_dict())


def load_scaler(scaler: Any, folder: Path) -> None:
    """Restore it, where the checkpoint holds one. Raises OSError, CheckpointFormatError."""
    if not (folder / SCALER).exists():
        return
    state, now = read_json(folder / SCALER), scaler.state_dict()
    if not (
        isinstance(state, dict)
        and state.keys() == now.keys()
        and all(_alike(value, now[key]) for key, value in state.items())
    ):
        raise CheckpointFormatError(f"{SCALER}: it is another gradient scaler's")
    scaler.load_state_dict(state)
