"""Access to the model is looked at before a job is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import check_access, check_offline, in_cache
from hpclaunch.recipe.load import load
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


def test_all_that_an_offline_job_lacks_is_one_command(home: dict[str, str], tmp_path: Path) -> None:
    recipe = load("llama3-8b-lora", ["data.name=Org/MyData", "data.validation=org/held"])
    model = "meta-llama/Meta-Llama-3-8B-Instruct"
    words = f"{model} datasets/Org/MyData datasets/org/held"
    with pytest.raises(UserError, match=f"run here first: hpclaunch fetch {words}$"):
        check_offline(recipe, home)
    for name in ("Org___my_data", "org___held"):
        rows = tmp_path / f"datasets/{name}/default/0.0.0/abc/rows-train.arrow"
        rows.parent.mkdir(parents=True)
        rows.touch()
    with pytest.raises(UserError, match=f"hpclaunch fetch {model}$"):
        check_offline(recipe, home)
    snapshot = tmp_path / "hub/models--meta-llama--Meta-Llama-3-8B-Instruct/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model-1.safetensors").touch()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not in_cache(model, home), "a download that broke off between two files"
    (snapshot / "model-2.safetensors").touch()
    check_offline(recipe, home)
    check_offline(load("tiny"), home)
