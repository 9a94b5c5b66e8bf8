"""The pipelines under examples/, whole, with small models on a real Slurm: `make walkthroughs`.

Stages, their order and what they take from each other are the example's own. Models, data, tasks,
resources and addresses are replaced by small ones that are here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.user import ROOT, User

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.faults]

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pipeline.yaml"))
SMALL = {"nodes": 1, "cpu_processes": 1, "cpus": 2, "time": "0:20:00"}
TINY = "builtin:tiny-llama"
OF_THE_DATA = ("data.name", "data.subset", "data.split", "data.validation_split", "data.limit")
MAKE_DATA = """\
import json, sys
for name in sys.argv[2::2]:
    rows = [{"prompt": f"<START_Q>{n}+1?<END_Q>", "completion": f"<START_A>{n + 1}<END_A>"}
            for n in range(24)]
    open(name, "w").writelines(json.dumps(row) + chr(10) for row in rows)
"""
QUESTIONS = [{"q": f"Is {n} even?", "choices": ["yes", "no"], "label": n % 2} for n in range(6)]


def test_there_is_one_for_each_published_walkthrough() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_chain_runs_to_its_end(example: Path, user: User) -> None:
    folder = user.folder / "example"
    shutil.copytree(example, folder)
    file = folder / "pipeline.yaml"
    chain = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(_small(chain, folder), sort_keys=False))
    started = user.hpclaunch("pipeline", str(file), "--name", "w")
    assert started.returncode == 0, started.stderr
    assert user.jobs_left(900) == ""
    found = json.loads(user.hpclaunch("status", "w", "--json").stdout)["stages"]
    states = {stage["name"]: stage["state"] for stage in found}
    failed = [name for name, state in states.items() if state != "done"]
    why = [user.hpclaunch("why", f"w.{name}").stdout for name in failed]
    assert set(states) == set(chain["stages"])
    assert not failed, "\n".join(why)
    print(user.hpclaunch("status", "w").stdout)


def _small(chain: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the chain in small."""
    made = {output for stage in chain["stages"].values() for output in stage.get("outputs", [])}
    stages = {
        name: _small_stage(dict(stage), folder, made) for name, stage in chain["stages"].items()
    }
    return {**chain, "resources": SMALL, "stages": stages}


def _small_stage(stage: dict[str, Any], folder: Path, made: set[str]) -> dict[str, Any]:
    stage.pop("resources", None)
    if "recipe" in stage:
        name, changes = stage["recipe"], dict(stage.get("set", {}))
        dpo, pretrain = "dpo" in name, changes.get("method.objective") == "pretrain"
        stage["recipe"] = "dpo" if dpo else "pretrain" if pretrain else "tiny"
        if changes.get("data.name") not in made:
            changes = {key: value for key, value in changes.items() if key not in OF_THE_DATA}
        if name.endswith("-full"):
            changes["method.kind"] = "full"
        changes |= {"training.max_steps": 3, "training.max_length": 128}
        if changes.get("training.eval_steps"):
            changes["training.eval_steps"] = 2
        stage["set"] = changes
    if stage.get("stage") == "eval":
        stage["settings"] = {"tasks": ["even"], "tasks_dir": str(_task(folder)), "limit": 4}
    if "make_data.py" in stage.get("command", []):  # it takes its rows from the hub
        (folder / "make_data.py").write_text(MAKE_DATA)
    if stage.get("stage") == "publish":
        stage["settings"] = {"url": (folder / "published").as_uri()}
    if isinstance(stage.get("of"), str) and "/" in stage["of"]:
        stage["of"] = TINY
    return stage


def _task(folder: Path) -> Path:
    """Write a task of one's own for lm-evaluation-harness, which needs no hub."""
    place = folder / "tasks"
    place.mkdir(exist_ok=True)
    data = place / "even.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    task = {
        "task": "even", "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice", "doc_to_text": "{{q}}", "doc_to_choice": "choices",
        "doc_to_target": "label", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    (place / "even.yaml").write_text(json.dumps(task))
    return place
