"""Folders and files that somebody else prepared: no stage takes them for one's own, or waits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.harness.tasks import read_index
from hpclaunch.launch.request import Request
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.run import compressor
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import StageResults, write_results
from hpclaunch.run.stage_settings import Merge, Publish
from hpclaunch.run.weights_config import check_model_config
from hpclaunch.stages.draft import StageRequest, draft_stage, find_done
from hpclaunch.stages.generate import read_prompts
from hpclaunch.stages.publish import check
from hpclaunch.stages.source import resolve
from tests.run.test_owner import NOBODY
from tests.stages.folders import write_run

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without Slurm and runs of anybody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("hpclaunch.slurm.commands.available", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@as_root
def test_weights_that_another_left_are_not_the_stage_that_was_done(home: Path) -> None:
    write_run(home / "runs/a")
    wanted = StageRequest(Merge(), (resolve(str(home / "runs/a")),), Request(mode="local"))
    folder = write_folder(draft_stage(wanted)).folder
    folder.final.mkdir()
    fingerprint = wanted.sources[0].source.fingerprint
    write_results(folder, StageResults(stage="merge", fingerprints=(fingerprint,), seconds=1.0))
    assert find_done(wanted) == folder
    os.chown(folder.root, NOBODY, -1)
    assert find_done(wanted) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "only LoRA adapters"),
        ({"peft_type": ["LORA"]}, "only LoRA adapters"),
        ({"megatron_core": "os", "megatron_config": {}}, "megatron_core names a module"),
        ({"megatron_config": {"a": 1}}, "megatron_core names a module"),
        ({"auto_mapping": {"base_model_class": "x", "parent_library": "antigravity"}},
         "auto_mapping names a module"),
        ({"auto_mapping": ["x"]}, "auto_mapping names a module"),
        ({"auto_mapping": {"parent_library": "transformers_evil"}}, "auto_mapping names a module"),
    ],
)  # fmt: skip
def test_an_adapter_names_no_module_to_import(
    home: Path, values: dict[str, Any], message: str
) -> None:
    write_run(home / "runs/a", **values)
    with pytest.raises(UserError, match=message):
        resolve(str(home / "runs/a"))
    from hpclaunch.train.stages.inputs import open_source

    write_run(home / "runs/b")
    source = resolve(str(home / "runs/b")).source
    config = home / "runs/b/final/adapter_config.json"
    config.write_bytes((home / "runs/a/final/adapter_config.json").read_bytes())
    with pytest.raises(UserError, match=message):
        open_source(source, home)


@pytest.mark.parametrize(
    "config",
    [{"attn_implementation": "evil/attention"}, {"_attn_implementation": {"": "evil/attention"}}],
)
def test_a_model_asks_for_no_kernel_of_the_hub(home: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="kernel on the hub"):
        check_model_config(config, home / "config.json")
    check_model_config({"attn_implementation": "sdpa", "experts_implementation": None}, home)


def test_a_config_whose_link_runs_in_a_circle_is_said(home: Path) -> None:
    root = write_run(home / "runs/a", "model")
    (root / "final/config.json").unlink()
    (root / "final/config.json").symlink_to("config.json")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        resolve(str(root))


@as_root
def test_anothers_run_is_not_published(home: Path) -> None:
    root = write_run(home / "runs/a")
    settings = Publish(url=f"file://{home}/out")
    check(settings, (resolve(str(root)),))
    os.chown(root, NOBODY, -1)
    with pytest.raises(UserError, match="not yours to publish"):
        check(settings, (resolve(str(root)),))


def test_no_pipe_in_a_folder_is_waited_for(home: Path) -> None:
    (home / "tasks").mkdir()
    os.mkfifo(home / "tasks/a.yaml")
    (home / "tasks/b.yaml").write_text("task: mine\n")
    assert set(read_index([home / "tasks"]).names) == {"mine"}
    with pytest.raises(UserError, match="nobody may ever write"):
        read_prompts(home / "tasks/a.yaml")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_environment_that_others_may_change_is_not_used(
    home: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    environment = compressor.environment_of(home)
    environment.mkdir(parents=True)
    (environment / compressor.COMPLETE).touch()
    assert compressor.is_complete(environment)
    (environment, *environment.parents)[level].chmod(0o770)
    with pytest.raises(UserError, match="not yours alone"):
        compressor.is_complete(environment)


def test_a_stage_writes_nothing_through_a_link(home: Path) -> None:
    from hpclaunch.train.stages.run import main

    write_run(home / "runs/a")
    wanted = StageRequest(Merge(), (resolve(str(home / "runs/a")),), Request(mode="local"))
    folder = RunFolder(write_folder(draft_stage(wanted)).folder.root)
    outside = home / "outside"
    (outside / "publish").mkdir(parents=True)
    (outside / "publish/mine").touch()
    for name in (".scratch", ".final.partial", "final"):
        (folder.root / name).symlink_to(outside)

    def work(run: Any) -> dict[str, Any]:
        run.scratch.mkdir()
        (run.scratch / "x").touch()
        with run.final() as final:
            (final / "y").touch()
        return {}

    assert main([str(folder.root)], work) == 0
    assert (folder.final / "y").is_file() and not folder.final.is_symlink()
    assert [str(path.relative_to(outside)) for path in sorted(outside.rglob("*"))] == [
        "publish",
        "publish/mine",
    ]
