"""Which variables the access to a model is judged by: those the job will have."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.check import check_model_access
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources

GATED = Request(recipe="llama3-8b-lora", resources=Resources(gpus=1), site="generic")


def request(mode: str, site: str = "generic") -> Request:
    from dataclasses import replace

    assert mode in {"sbatch", "srun"}
    return replace(GATED, mode="srun" if mode == "srun" else "sbatch", site=site)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm to ask
    return tmp_path


@pytest.mark.parametrize("mode", ["sbatch", "srun"])
def test_a_token_in_the_shell_alone_reaches_no_job(mode: str, home: Path) -> None:
    job = draft(request(mode), {})
    with pytest.raises(UserError, match="in this shell only"):
        check_model_access(job, {"HF_TOKEN": "x", "HF_HOME": str(home)})


def test_the_sites_own_cache_is_looked_into(home: Path) -> None:
    sites = home / "config/hpclaunch/sites"
    sites.mkdir(parents=True)
    (sites / "mine.yaml").write_text(f"extends: generic\nenvironment: {{HF_HOME: {home}/hf}}\n")
    job = draft(request("sbatch", "mine"), {})
    variables = {"HF_HOME": str(home / "elsewhere")}
    with pytest.raises(UserError, match="is gated"):
        check_model_access(job, variables)
    (home / "hf").mkdir()
    (home / "hf/token").write_text("saved")
    check_model_access(job, variables)
