"""A copied run folder is a run of its own: what is done with it leaves the first one alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

import pytest

from hpclaunch.diagnose.state import run_state
from hpclaunch.errors import UserError
from hpclaunch.forecast.preflight_results import PROGRAM
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.write_folder import rewrite_folder, write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.render.static_scripts import static_scripts
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.slurm import commands


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def test_a_copy_is_resumed_in_its_own_folder(tmp_path: Path) -> None:
    job = draft(Request(mode="local", recipe="tiny", name="base"), {})
    base = write_folder(job).folder
    shutil.copytree(base.root, tmp_path / "elsewhere/copy")
    copy = RunFolder(tmp_path / "elsewhere/copy")
    before = {path: path.stat().st_mtime_ns for path in (base.root, *base.root.rglob("*"))}
    record = read_record(copy)
    again = redraft(copy, record, variables={})
    assert run_state(copy, record).reason == f"not started here: hpclaunch resume {copy.root}"
    assert again.plan.launch.folder == copy.root
    rewrite_folder(again, record)
    assert before == {path: path.stat().st_mtime_ns for path in (base.root, *base.root.rglob("*"))}
    script = copy.script.read_text()
    assert str(base.root) not in script
    assert f"HPCLAUNCH_RUN={copy.root}\n" in script


@pytest.mark.parametrize(
    "name",
    [
        "logs", "logs/nodes", "logs/ranks", "metrics/tensorboard", "metrics/n1.samples.jsonl",
        "start", "job_id", "upload", "launch.sh", "events.jsonl", "checkpoint_digests.jsonl",
    ],
)  # fmt: skip
def test_nothing_is_written_through_links_of_a_folder_that_goes_on(
    name: str, tmp_path: Path
) -> None:
    folder = write_folder(draft(Request(mode="local", recipe="tiny", name="base"), {})).folder
    record = read_record(folder)
    job = redraft(folder, record, variables={})
    (folder.metrics / "wandb").mkdir()
    (folder.metrics / "wandb/latest-run").symlink_to("run-1")  # inside of it: of W&B
    (tmp_path / "elsewhere").mkdir()
    place = folder.root / name
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"/base/{name} is a link: .*; remove it"):
        rewrite_folder(job, record)
    place.unlink()
    rewrite_folder(job, record)


@pytest.mark.parametrize("mode", ["sbatch", "local"])
@pytest.mark.parametrize("program", [(), PROGRAM], ids=["training", "preflight"])
def test_no_module_of_the_folder_that_a_job_starts_in_is_taken(
    program: tuple[str, ...], mode: Literal["sbatch", "local"]
) -> None:
    """Neither of the run folder, which may be another's, nor of the current one."""
    resources = Resources(nodes=2 if mode == "sbatch" else 1, cpu_processes=1)
    job = draft(Request(mode=mode, recipe="tiny", resources=resources, program=program), {})
    before, export, _ = job.script.partition("export PYTHONSAFEPATH=1")
    assert export
    unsafe = re.compile(r"\b(?:python (?!-P )|accelerate-launch|torchrun)")
    for text in (before, *static_scripts().values()):
        lines = [line.partition("#")[0] for line in text.splitlines()]
        assert not [line for line in lines if unsafe.search(line)]
