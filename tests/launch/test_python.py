"""From Python: whatever is wrong is a UserError, in one line."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from hpclaunch import Changes, Request, Resources, UserError, draft, find
from hpclaunch.errors import JobFailed
from hpclaunch.launch.attached import Attached, run_attached
from hpclaunch.slurm import commands


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "slurm"}, "mode='slurm': expected 'sbatch' or 'srun' or 'local'"),
        ({"recipe": 5}, "recipe=5: expected text or None"),
        ({"recipe": Path("tiny")}, "expected text or None"),
        ({"overrides": "training.seed=1"}, "overrides=.*: expected a tuple of texts"),
        ({"overrides": (1,)}, "expected a tuple of texts"),
        ({"program": ["train.py"]}, "expected a tuple of texts"),
        ({"changes": {}}, "changes={}: expected Changes"),
        ({"changes": Changes(method="lore")}, "method='lore': expected"),  # type: ignore[arg-type]  # wrong on purpose
        ({"changes": Changes(fsdp=3)}, "fsdp=3: expected 1 or 2"),  # type: ignore[arg-type]  # wrong on purpose
        ({"changes": Changes(offload=1)}, "offload=1"),  # type: ignore[arg-type]  # wrong on purpose
        ({"resources": {}}, "resources={}: expected Resources"),
        ({"resources": Resources(gpus=0)}, "--gpus 0"),
        ({"resources": Resources(nodes="2")}, "nodes='2'"),  # type: ignore[arg-type]  # wrong on purpose
        ({"resources": Resources(exclusive="yes")}, "exclusive"),  # type: ignore[arg-type]  # wrong on purpose
        ({"runs_dir": "runs"}, "runs_dir='runs': expected a Path or None"),
        ({"auto_batch": 1}, "auto_batch=1: expected True or False"),
        ({"site": "nosuch"}, "no site profile called 'nosuch'"),
        ({"venv": Path("/nonexistent")}, "no Python environment there"),
        ({"name": "a b"}, "a run's name is a folder's"),
    ],
)
def test_a_wrong_request(wrong: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"recipe": "tiny", "resources": Resources(cpu_processes=1)}
    assert draft(Request(**right), {}).plan.recipe.name == "tiny"
    with pytest.raises(UserError, match=message) as caught:
        draft(Request(**(right | wrong)), {})
    assert str(caught.value).isprintable()


def test_what_is_no_request_or_reference() -> None:
    with pytest.raises(UserError, match="expected a Request"):
        draft({"recipe": "tiny"}, {})  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(UserError, match=r"find\(5\): expected a run's name"):
        find(5)  # type: ignore[arg-type]  # wrong on purpose


def test_what_was_started_and_failed_is_a_user_error_too() -> None:
    assert isinstance(JobFailed("sbatch did not answer"), UserError)


def test_an_attached_run_in_a_thread(tmp_path: Path) -> None:
    """Only the first thread of a program is handed signals."""
    codes: list[int] = []
    job = Attached(["bash", "-c", "exit 3"], {"PATH": "/usr/bin:/bin"}, tmp_path / "log")
    thread = threading.Thread(target=lambda: codes.append(run_attached(job, lambda _: None)))
    thread.start()
    thread.join(timeout=20)
    assert codes == [3]
