"""`recipes validate` refuses what a run of the recipe would be refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.launch import check
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.validate import validate
from hpclaunch.plan.resources import Resources
from hpclaunch.slurm import commands

TINY = """\
name: {name}
model: {{name: "{model}"}}
data: {{name: "builtin:cluster-questions"}}
checkpoints: {{sync_to: {sync_to}}}
tracking: {{wandb: {{enabled: false, project: "{project}"}}}}
"""
RIGHT = {"name": "mine", "model": "builtin:tiny-llama", "sync_to": "null", "project": "p"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    monkeypatch.setattr(commands, "cluster_name", lambda: None)
    for name in ("XDG_CONFIG_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_secret_of_a_site_profile_goes_into_no_script(tmp_path: Path) -> None:
    profile = tmp_path / "XDG_CONFIG_HOME/hpclaunch/sites/mine.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text("extends: generic\nenvironment: {WANDB_API_KEY: abc}\n")
    request = Request(recipe="tiny", site="mine", resources=Resources(gpus=1))
    with pytest.raises(UserError, match="environment of site profile mine"):
        check.check(draft(request, {}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, None),
        ({"name": "a b"}, "a run's name is a folder's"),
        ({"model": "meta-llama/Llama-3.1-8B"}, "is gated"),
        ({"project": "hf_" + "a" * 30}, "a secret .* stands in"),
    ],
)
def test_one_set_of_checks(tmp_path: Path, wrong: dict[str, str], message: str | None) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(TINY.format(**(RIGHT | wrong)))

    def run() -> None:
        check.check(draft(Request(recipe=str(file), resources=Resources(gpus=1)), {}))

    def by_itself() -> None:
        check.check_model_access(validate(str(file), (), check_data))

    for refuses in (run, by_itself):
        if message is None:
            refuses()
        else:
            with pytest.raises(UserError, match=message):
                refuses()
