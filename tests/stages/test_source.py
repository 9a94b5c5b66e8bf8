"""What a stage takes: found, and refused in one line before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.stages.source import resolve
from tests.stages.folders import write_adapter, write_model, write_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without runs of anybody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_its_final_weights(home: Path) -> None:
    root = write_run(home / "runs/a")
    known = resolve("a")
    assert known.source.run == str(root)
    assert known.source.checkpoint is None
    assert known.is_adapter and known.base == "builtin:tiny-llama"
    assert resolve(None).source == resolve(str(root)).source == known.source


def test_other_weights_have_another_fingerprint(home: Path) -> None:
    root = write_run(home / "runs/a")
    before = resolve("a").source.fingerprint
    (root / "final/adapter_model.safetensors").write_bytes(b"others")
    assert resolve("a").source.fingerprint != before


def test_without_final_weights_it_is_the_newest_checkpoint(home: Path) -> None:
    root = write_run(home / "runs/a", "")
    with pytest.raises(UserError, match="no weights yet"):
        resolve("a")
    assert resolve("a", pending=True).source.checkpoint is None
    for step in (9, 10):
        (root / f"checkpoints/step-{step}").mkdir(parents=True)
    (root / "checkpoints/.partial").mkdir()
    assert resolve("a").source.checkpoint == "step-10"
    assert resolve("a", checkpoint="step-9").source.checkpoint == "step-9"
    with pytest.raises(UserError, match=r"no checkpoint step-8; there: step-9, step-10"):
        resolve("a", checkpoint="step-8")
    with pytest.raises(UserError, match="no checkpoint's name"):
        resolve("a", checkpoint="../../etc")


def test_a_model_is_a_folder_or_a_hub_id(home: Path) -> None:
    folder = write_model(home / "model")
    assert resolve("model").source.model == str(folder)
    assert resolve("model").is_adapter is False
    assert resolve(str(write_adapter(home / "adapter"))).is_adapter
    hub = resolve("meta-llama/Llama-3.1-8B", revision="main").source
    assert (hub.model, hub.revision, hub.name) == (
        "meta-llama/Llama-3.1-8B", "main", "Llama-3.1-8B",
    )  # fmt: skip


def test_weights_that_could_hold_code_are_refused(home: Path) -> None:
    folder = write_model(home / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can hold code"):
        resolve("model")


def test_what_is_neither_is_refused(home: Path) -> None:
    write_run(home / "runs/first")
    with pytest.raises(UserError, match="did you mean 'first'"):
        resolve("frist")
    with pytest.raises(UserError, match="--revision"):
        resolve("first", revision="main")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_damaged_config_is_one_line(home: Path, text: str) -> None:
    root = write_run(home / "runs/a")
    (root / "final/adapter_config.json").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        resolve("a")


def test_a_base_that_is_no_text_is_unknown(home: Path) -> None:
    root = write_run(home / "runs/a", base_model_name_or_path=["x"])
    assert json.loads((root / "final/adapter_config.json").read_text())
    assert resolve("a").base is None
