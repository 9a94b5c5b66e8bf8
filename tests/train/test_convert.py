"""Checkpoints of earlier versions, which held pickles, are converted on request and with care."""

from __future__ import annotations

import enum
import io
import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpclaunch.errors import UserError
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.convert import convert
from hpclaunch.train.checkpoint.rng_state import load_rng_state
from hpclaunch.train.checkpoint.state_tree import read_tree
from hpclaunch.train.checkpoint.typed_json import read_json
from tests.train.pickles import Evil


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
    (folder / "trainer_state.json").write_text('{"global_step": 3, "log_history": []}')
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    entries = {name: {"bytes": 1, "crc32": 1} for name in names}
    document = {"format": 1, "step": 3, "ranks": 2, "files": entries}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


class _EarlierPython(pickle.Pickler):
    """Writes a member of an enumeration by its name, as Python 3.11.2 does."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, enum.Enum):
            return NotImplemented
        return getattr, (type(value), value.name)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_pickled_checkpoint_is_converted_on_request(pickled: Path, by_name: bool) -> None:
    if by_name:
        index, written = pickled / "optimizer_0/.metadata", io.BytesIO()
        _EarlierPython(written).dump(pickle.loads(index.read_bytes()))  # noqa: S301 - our own
        index.write_bytes(written.getvalue())
        assert b"getattr" in index.read_bytes()
    expected = (random.random(), float(np.random.rand()))  # noqa: S311 - what is tested
    assert "holds pickles" in str(manifest.find_damage(pickled))
    convert(pickled)
    assert manifest.find_damage(pickled) is None
    tree = read_tree(pickled / "optimizer_0")["optimizer"]
    assert tree == {"state": {"w": {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1}]}
    assert read_json(pickled / "scheduler.json") == {"last_epoch": 3}
    assert load_rng_state(pickled, 1)
    assert (random.random(), float(np.random.rand())) == expected  # noqa: S311
    assert manifest.read(pickled)[0]["ranks"] == 2  # type: ignore[index]  # it is there
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
