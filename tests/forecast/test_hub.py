"""Access to the model is looked at before a job is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import check_access
from hpclaunch.recipe.schema import Model

GATED = Model(name="meta-llama/Llama-3.1-8B", gated=False)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HF_HOME": str(tmp_path)}


def test_known_owners_are_gated(home: dict[str, str]) -> None:
    with pytest.raises(UserError, match="is gated"):
        check_access(GATED, internet=True, environment=home, job=True)
    check_access(Model(name="Qwen/Qwen3-8B"), internet=True, environment=home, job=True)
    check_access(Model(name="builtin:tiny-llama"), internet=False, environment=home, job=True)
    check_access(Model(name="/models/mine"), internet=False, environment=home, job=True)


@pytest.mark.parametrize("variable", ["HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN_PATH"])
def test_a_saved_token_is_found(tmp_path: Path, variable: str) -> None:
    folders = {"HF_HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "huggingface"}
    token = folders.get(variable, tmp_path) / "token"
    token.parent.mkdir(exist_ok=True)
    token.write_text("hf_x")
    value = str(token) if variable == "HF_TOKEN_PATH" else str(tmp_path)
    check_access(GATED, internet=True, environment={variable: value}, job=True)


def test_a_token_in_the_shell_serves_local_runs_only(home: dict[str, str]) -> None:
    home["HF_TOKEN"] = "x"
    check_access(GATED, internet=True, environment=home, job=False)
    with pytest.raises(UserError, match="in this shell only"):
        check_access(GATED, internet=True, environment=home, job=True)


def test_a_model_in_the_cache_needs_neither(home: dict[str, str], tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/models--meta-llama--Llama-3.1-8B/snapshots/abc"
    snapshot.mkdir(parents=True)
    with pytest.raises(UserError):  # a folder alone is a download that was broken off
        check_access(GATED, internet=False, environment=home, job=True)
    (snapshot / "model-00001-of-00002.safetensors").touch()
    check_access(GATED, internet=False, environment=home, job=True)


def test_nodes_without_internet_need_the_cache(home: dict[str, str]) -> None:
    with pytest.raises(UserError, match="hpclaunch fetch Qwen/Qwen3-8B"):
        check_access(Model(name="Qwen/Qwen3-8B"), internet=False, environment=home, job=True)
