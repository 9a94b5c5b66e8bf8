"""Convert a checkpoint of an earlier version, which held pickles, to numbers and text.

    python -P -m hpclaunch.train.checkpoint.convert runs/NAME/checkpoints/step-50

The old files stay until the new ones are complete. Values are read by torch's unpickler for
weights, which runs no code that a file names; do it only with a checkpoint of your own all the
same. Memory: all that the checkpoint holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from hpclaunch.errors import UserError
from hpclaunch.run.regular_file import read_regular
from hpclaunch.run.removal import remove
from hpclaunch.train.checkpoint import contents, manifest
from hpclaunch.train.checkpoint.pickled_index import NAME, PickledLoadPlanner, PickledReader
from hpclaunch.train.checkpoint.rng_state import rng_file, rng_values
from hpclaunch.train.checkpoint.state_tree import read_with, write_tree
from hpclaunch.train.checkpoint.training_state import OPTIMIZER, SCALER, SCHEDULER, load_checked
from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, write_json
from hpclaunch.train.failure import one_line

_SHARDED = ("pytorch_model_fsdp_0", OPTIMIZER)
_PICKLES = ("*.pt", "*.pth", "*.bin", "*.distcp", "*/*.distcp", f"*/{NAME}")


def convert(checkpoint: Path) -> None:
    """Convert a folder `step-N` in place. Raises UserError."""
    if not (checkpoint / "trainer_state.json").is_file():
        raise UserError(f"{checkpoint} is no checkpoint", "name a folder checkpoints/step-N")
    if any(checkpoint.glob("pytorch_model*.bin")) or any(checkpoint.glob("adapter_model*.bin")):
        raise UserError(f"{checkpoint} holds weights as pickles", "save them as safetensors first")
    aside = checkpoint.with_name(f".converting-{checkpoint.name}")
    remove(aside)
    aside.mkdir()
    load_checked(lambda: _write(checkpoint, aside), checkpoint)
    for pattern in _PICKLES:
        for path in checkpoint.glob(pattern):
            path.unlink()
    for path in list(aside.iterdir()):
        target = checkpoint / path.name
        remove(target)
        path.rename(target)
    aside.rmdir()


def _write(checkpoint: Path, aside: Path) -> None:
    """Write all that takes the place of pickles, and the manifest."""
    for name in _SHARDED:
        if (checkpoint / name / NAME).is_file():
            reader = PickledReader(checkpoint / name)
            write_tree(read_with(reader, PickledLoadPlanner), aside / name)
    if (checkpoint / "optimizer.pt").is_file():
        state = _unpickle(checkpoint / "optimizer.pt")
        numbered = {str(number): held for number, held in state["state"].items()}
        write_tree({**state, "state": numbered}, aside / OPTIMIZER)
    for old, new in (("scheduler.pt", SCHEDULER), ("scaler.pt", SCALER)):
        if (checkpoint / old).is_file():
            write_json(aside / new, _unpickle(checkpoint / old))
    for path in checkpoint.glob("rng_state*.pth"):
        rank = int(path.stem.rpartition("_")[2]) if path.stem != "rng_state" else 0
        write_json(rng_file(aside, rank), rng_values(_unpickle(path)))
    _write_manifest(checkpoint, aside)


def _write_manifest(checkpoint: Path, aside: Path) -> None:
    old = json.loads(read_regular(checkpoint / manifest.NAME, manifest.MAX_BYTES))
    facts = {key: value for key, value in old.items() if key not in {"files", "format"}}
    entries = manifest.read_back(aside, 0, 1)
    for name in old["files"]:
        path = checkpoint / name
        if contents.may_hold(name) and path.is_file():
            entries[name] = manifest.checksum(path)
    manifest.write(aside, entries, **facts)


def _unpickle(path: Path) -> Any:
    from transformers.trainer_pt_utils import safe_globals

    try:
        with safe_globals():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a made-up pickle brings about
        raise CheckpointFormatError(f"{path.name}: {one_line(error)}") from error


def main() -> int:
    """Convert the folders that are named; returns the exit code."""
    if len(sys.argv) < 2:
        print(f"usage: {manifest.CONVERT} CHECKPOINT ...", file=sys.stderr)
        return 2
    for name in sys.argv[1:]:
        try:
            convert(Path(name))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"{name}: converted", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
