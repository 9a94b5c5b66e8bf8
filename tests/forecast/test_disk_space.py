"""A disk without room for the model's files or for the checkpoints is said before the job waits."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from hpclaunch.forecast.disk_space import space_problems
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.recipe.load import load
from hpclaunch.site.load import load_site

Usage = namedtuple("Usage", "total used free")


def problems(name: str, home: Path, runs: Path, *overrides: str) -> list[str]:
    request = PredictionRequest(load(name, overrides), load_site("generic"), 4, 4, "a100_80")
    made = forecast(request, {}, ask_hub=False)
    return list(space_problems(made, {"HF_HOME": str(home)}, runs))


def test_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, runs = tmp_path / "home", tmp_path / "runs"
    home.mkdir()
    runs.mkdir()
    free = {home: 64_000, runs: 10**12}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, free[place]))
    (problem,) = problems("llama3-70b-lora", home, runs)
    assert problem == (
        "the files of meta-llama/Meta-Llama-3-70B-Instruct take 141 GB, and "
        f"{home}/hub has 0.1 MB free: set HF_HOME to another folder"
    )
    snapshot = home / "hub/models--meta-llama--Meta-Llama-3-70B-Instruct/snapshots/x"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    assert problems("llama3-70b-lora", home, runs) == [], "they are there already"
    free[runs] = 10**9
    (problem,) = problems("llama3-70b-full", home, runs)
    assert problem.startswith("3 checkpoints take ")
    assert problem.endswith(f"and {runs} has 1.0 GB free: choose another --runs-dir")
    assert problems("llama3-70b-full", home, runs, "checkpoints.every_steps=0") == []


def test_a_disk_that_cannot_be_looked_at_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> Usage:
        raise PermissionError

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert problems("llama3-70b-lora", tmp_path, tmp_path) == []
