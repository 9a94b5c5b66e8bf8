"""The walkthroughs that need no cluster, walked through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.harness.tasks import read_index
from tests.cli.running import ROOT, Home

pytestmark = pytest.mark.train


@pytest.fixture
def home(tmp_path: Path, forked_trainings: dict[str, str]) -> Home:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return Home(tmp_path, forked_trainings)


def test_own_data(home: Home) -> None:
    question = json.loads((ROOT / "examples/own-data/questions.jsonl").open().readline())
    asked, answer = (message["content"] for message in question["messages"])
    done = home.call("local", "examples/own-data/recipe.yaml", "--name", "own-data", timeout=400)
    assert done.code == 0, done.out + done.err
    said = subprocess.run(
        [sys.executable, "-m", "hpclaunch.train.sample", "runs/own-data", "--prompt", asked],
        env=home.environment,
        cwd=home.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    before, after = said.stdout.split("\nafter\n")
    assert answer not in before
    assert answer in after
    report = home.call("report", "own-data")
    assert report.code == 0
    assert "60 of 60" in report.out


def test_own_tasks_ask_what_the_demo_trains_on() -> None:
    """The file is a task of the harness, and its right answers are those of the demo's data."""
    folder = ROOT / "examples/own-tasks"
    assert set(read_index([folder]).files) == {"cluster_questions"}
    data = (ROOT / "hpclaunch/recipe/data/cluster-questions.validation.jsonl").read_text()
    turns = [json.loads(line)["messages"] for line in data.splitlines()]
    answers = {question["content"]: answer["content"] for question, answer in turns}
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    assert {row["question"]: row["choices"][row["answer"]] for row in rows} == answers
    assert all(len(set(row["choices"])) == 4 for row in rows)


def test_own_rewards_are_found_beside_the_recipe(home: Home) -> None:
    done = home.call("recipes", "validate", "examples/own-rewards/recipe.yaml", timeout=100)
    assert done.code == 0, done.out + done.err
    sums = (ROOT / "examples/own-rewards/sums.jsonl").read_text().splitlines()
    assert len(sums) == 16 and all("answer" in json.loads(line) for line in sums)


def test_own_program(home: Home) -> None:
    program = ["examples/own-program/train.py", "--steps", "20"]
    done = home.call("local", "--name", "mine", "--", *program, timeout=200)
    assert done.code == 0, done.out + done.err
    losses = [float(line.split()[-1]) for line in done.out.splitlines() if " loss " in line]
    assert len(losses) == 20, "only the first rank speaks"
    assert losses[-1] < losses[0] / 1.5
    assert json.loads(home.call("status", "mine", "--json").out)["state"] == "done"
    assert home.call("report", "mine").code == 0


def test_ctrl_c_and_status_of_a_local_run(home: Home) -> None:
    program = ["examples/own-program/train.py", "--steps", "1000000"]
    process = home.start("local", "--name", "long", "--", *program)
    assert process.stdout is not None
    while "step 1/" not in (line := process.stdout.readline()):
        assert line, "it ended before the first step"
    assert json.loads(home.call("status", "long", "--json").out)["state"] == "running"
    assert home.call("cancel", "long").code == 0
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in rest, rest
    assert json.loads(home.call("status", "long", "--json").out)["state"] == "cancelled"
    assert home.call("cancel", "long").code == 2
