"""The training's readers of checkpoints, on one that somebody else may have changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import digests, manifest
from hpclaunch.train.checkpoint.pickled_index import NAME as PICKLED
from hpclaunch.train.checkpoint.pickled_index import PickledReader
from hpclaunch.train.checkpoint.planners import JsonLoadPlanner
from hpclaunch.train.checkpoint.rng_state import load_rng_state, save_rng_state
from hpclaunch.train.checkpoint.state_tree import write_tree
from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader
from hpclaunch.train.checkpoint.training_state import (
    load_checked,
    load_optimizer,
    load_scheduler,
    save_optimizer,
    save_scheduler,
)
from tests.fuzz.campaign import Check
from tests.fuzz.child import Child, in_child
from tests.fuzz.mutations import Mutation, apply, mutations, named

WEIGHTS = "pytorch_model_fsdp_0"
MAX_BYTES = 2 << 30
"""Resident memory with torch in it, which has half a GiB alone."""
STEP = "step-3"


def _made() -> tuple[Any, Any]:
    """Return an optimizer and a scheduler that have taken a step."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.arange(n, dtype=torch.float32)) for n in (4, 6)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    scheduler.step()
    return optimizer, scheduler


def _state() -> dict[str, Any]:
    """Return weights as a training that resumes has them."""
    numbers = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    return {"model": {"a.weight": numbers, "b.weight": numbers[:2].half(), "n": torch.tensor(3)}}


def make_base(place: Path) -> Path:
    """Write a whole checkpoint."""
    folder = place / STEP
    optimizer, scheduler = _made()
    write_tree(_state(), folder / WEIGHTS)
    save_optimizer(optimizer, folder)
    save_scheduler(scheduler, folder)
    save_rng_state(folder, 0)
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    entries = manifest.read_back(folder, 0, 1)
    manifest.write(folder, entries, step=3, ranks=1)
    import torch.distributed.checkpoint as dcp

    dcp.save(_state(), checkpoint_id=str(place / "old"), no_dist=True)
    return folder


def _read_all(place: Path, child: Child) -> None:
    """Read it as a training does that resumes; what is wrong must be said in one line."""
    folder = place / STEP
    optimizer, scheduler = _made()
    run = RunFolder(place)
    output = os.open(place / "output", os.O_RDWR | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    calls: dict[str, Callable[[], object]] = {
        "manifest": lambda: manifest.find_damage(folder),
        "digests": lambda: digests.find_difference(run, 3, "x"),
        "weights": lambda: _load(folder / WEIGHTS, SafetensorsReader),
        "optimizer": lambda: load_optimizer(optimizer, folder),
        "scheduler": lambda: load_scheduler(scheduler, folder),
        "random state": lambda: load_rng_state(folder, 0),
        "pickled index": lambda: load_checked(
            lambda: PickledReader(place / "old").read_metadata(), folder
        ),
    }
    for name, call in calls.items():
        child.begin(name)
        try:
            call()
        except (UserError, ValueError, OSError) as error:
            if "\n" in str(error):
                child.note(f"more than a line: {error}")
        except CheckpointException as error:
            child.note(f"raised {error!r}")
        except Exception as error:
            child.note(f"raised {error!r}")
    shown = os.pread(output, 1 << 24, 0)
    if b"Traceback" in shown or b"\x1b" in shown:
        child.note(f"shows {shown.decode(errors='replace')}")


def _load(folder: Path, reader: Any) -> None:
    state = _state()
    before = {name: (each.dtype, each.shape) for name, each in state["model"].items()}
    load_checked(
        lambda: load(state, storage_reader=reader(folder), planner=JsonLoadPlanner(), no_dist=True),
        folder,
    )
    after = {name: (each.dtype, each.shape) for name, each in state["model"].items()}
    if before != after:
        raise AssertionError(f"{before} became {after}")


def _header(name: str, key: int, field: str, value: Any) -> Mutation:
    """Put a value into the header of a file of tensors."""

    def act(root: Path) -> None:
        content = (root / name).read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        names = sorted(header)
        header[names[key % len(names)]][field] = value
        text = json.dumps(header).encode()
        (root / name).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])

    return named(f"header({name!r}, {key}, {field}, {value!r})", act)


def _flip(name: str, place: float, bit: int) -> Mutation:
    def act(root: Path) -> None:
        content = bytearray((root / name).read_bytes())
        content[int(place * (len(content) - 1))] ^= 1 << bit
        (root / name).write_bytes(bytes(content))

    return named(f"flip({name!r}, {place}, {bit})", act)


def _cut(name: str, place: float) -> Mutation:
    return named(
        f"cut({name!r}, {place})",
        lambda root: os.truncate(root / name, int(place * (root / name).stat().st_size)),
    )


def _index(folder: str, change: int, value: Any) -> Mutation:
    """Change a tensor's shape, type or chunks in dcp.json."""

    def act(root: Path) -> None:
        path = root / STEP / folder / "dcp.json"
        index = json.loads(path.read_text())
        entries = index["tensors"]
        entry = entries[sorted(entries)[change % len(entries)]]
        chunk = entry["chunks"][0]
        kinds: list[Callable[[], object]] = [
            lambda: entry.update(shape=value),
            lambda: entry.update(dtype=value),
            lambda: entry.update(path=value),
            lambda: entry["chunks"].append(chunk),
            lambda: chunk.__setitem__(0, value),
            lambda: chunk.__setitem__(1, value),
            lambda: chunk.__setitem__(2, value),
            lambda: index["files"].update({str(value)[:200]: {"bytes": 1}}),
        ]
        kinds[change % len(kinds)]()
        path.write_text(json.dumps(index))

    return named(f"index({folder!r}, {change}, {value!r})", act)


def fit(root: Path) -> None:
    """Make the sizes and digests agree with the files, as a forger would."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        for index_path in (root / STEP).glob("*/dcp.json"):
            index = json.loads(index_path.read_text())
            for name in index["files"]:
                index["files"][name]["bytes"] = (index_path.parent / name).stat().st_size
            index_path.write_text(json.dumps(index))
        path = root / STEP / manifest.NAME
        document = json.loads(path.read_text())
        for name, entry in document["files"].items():
            content = (root / STEP / name).read_bytes()
            entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        path.write_text(json.dumps(document))


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([
        None, True, -1, 0, 1, 2**31, 2**48, 2**62, 2**63, 2**64, 10**30, 0.5, "F32", "BF16", "F4",
        "I64", "x" * 300, "\x1b[2J", "../a", [], {}, [8, 8], [64], [0], [-1, 0], [2**62, 2],
        [1] * 40, [[8, 8]], [8, "8"], [0, 256], [256, 0], [0, 2**62], [128, 384], ["model"],
        {"dict": {}}, {"tuple": [1]}, {"float": "nan"},
    ]),
    st.integers(), st.lists(st.integers(-2, 300), max_size=3),
)  # fmt: skip


def _strategy(files: list[str], contents: dict[str, bytes]) -> st.SearchStrategy[list[Mutation]]:
    shards = [file for file in files if file.endswith(".safetensors")]
    name = st.sampled_from(files)
    tensors = st.sampled_from(shards)
    fields = st.sampled_from(["dtype", "shape", "data_offsets", "x"])
    one = st.one_of(
        mutations(files, contents),
        st.builds(_header, tensors, st.integers(0, 9), fields, VALUES),
        st.builds(_flip, name, st.floats(0, 1), st.integers(0, 7)),
        st.builds(_cut, name, st.floats(0, 1)),
        st.builds(_index, st.sampled_from([WEIGHTS, "optimizer_0"]), st.integers(0, 40), VALUES),
    )
    forger = st.sampled_from([[], [named("fit", fit)]])
    return st.builds(lambda some, last: some + last, st.lists(one, min_size=1, max_size=3), forger)


@contextlib.contextmanager
def prepared() -> Iterator[tuple[Check, st.SearchStrategy[list[Mutation]]]]:
    """Return what checks a list of mutations, and what draws one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fuzz") as inner:
        top = Path(inner).resolve()
        base = top / "base"
        make_base(base)
        files = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
        contents = {file: (base / file).read_bytes() for file in files}

        def check(drawn: Sequence[Mutation]) -> int:
            with tempfile.TemporaryDirectory(dir=top) as name:
                place = Path(name)
                shutil.copytree(base, place, dirs_exist_ok=True)
                apply(drawn, place)
                outcome = in_child(place, lambda child: _read_all(place, child), MAX_BYTES)
                assert not outcome.found, "\n".join(outcome.found)
                return outcome.peak_bytes

        yield check, _strategy([file for file in files if PICKLED not in file], contents)
