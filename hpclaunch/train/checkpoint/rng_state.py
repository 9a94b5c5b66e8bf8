"""The states of the random number generators, as values that JSON can hold."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpclaunch.train.checkpoint.typed_json import CheckpointFormatError, read_json, write_json

MAX_DEVICES = 1024


def rng_file(folder: Path, rank: int) -> Path:
    """Return where a rank's generators' states lie in a checkpoint."""
    return folder / f"rng_state_{rank}.json"


def save_rng_state(folder: Path, rank: int) -> None:
    """Write this rank's states. Raises OSError."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # the generator of libraries that have none of their own
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.random.get_rng_state_all()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(rng_file(folder, rank), rng_values(state))


def rng_values(state: dict[str, Any]) -> dict[str, Any]:
    """Return generators' states, by library, as values that JSON can hold."""
    kind, keys, position, has_gauss, gauss = state["numpy"]
    cuda = state.get("cuda", [])
    devices = [cuda] if isinstance(cuda, torch.Tensor) else cuda
    return {
        "python": state["python"],
        "numpy": (str(kind), keys.tolist(), int(position), int(has_gauss), float(gauss)),
        "cpu": _hex(state["cpu"]),
        "cuda": [_hex(each) for each in devices],
    }


def load_rng_state(folder: Path, rank: int) -> bool:
    """Restore this rank's states; return whether the checkpoint holds some of this rank.

    A checkpoint that fewer ranks wrote holds none for the others: they keep their seeds. Raises
    OSError, CheckpointFormatError.
    """
    path = rng_file(folder, rank)
    if not path.exists():
        return False
    state = read_json(path)
    try:
        random.setstate(state["python"])
        kind, keys, position, has_gauss, gauss = state["numpy"]
        words = np.array(keys, dtype=np.uint32)
        np.random.set_state((kind, words, position, has_gauss, gauss))
        torch.random.set_rng_state(_bits(state["cpu"]))
        devices = [_bits(each) for each in state.get("cuda", [])]
        if torch.cuda.is_available() and len(devices) == torch.cuda.device_count() < MAX_DEVICES:
            torch.cuda.random.set_rng_state_all(devices)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RuntimeError) as error:
        raise CheckpointFormatError(f"{path.name}: {type(error).__name__}: {error}") from None
    return True


def _hex(state: torch.Tensor) -> str:
    return str(state.cpu().numpy().tobytes().hex())


def _bits(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
