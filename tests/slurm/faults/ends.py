"""How a training that was hurt should have ended."""

from __future__ import annotations

import os
import signal

from tests.slurm import harm
from tests.slurm.case import Case, Cost

RESUMED = "requeued, resumed, done"
ELSEWHERE = "requeued, resumed on another node, done"


def resumed(case: Case, restarts: int = 1, steps: int = 40) -> Cost:
    """The training went on from its newest checkpoint and came to its end, every step done."""
    cost = case.end()
    said = case.status()
    assert said["state"] == "done", case.everything()
    assert said["progress"]["restarts"] == restarts, case.everything()
    assert {mark["step"] for mark in case.marks("step")} == set(range(1, steps + 1))
    assert (case.folder / "final/adapter_model.safetensors").is_file()
    case.records_whole()
    return cost


def blamed(case: Case) -> list[tuple[str, str]]:
    """Kinds of the failures so far, each with its node."""
    return [(mark["kind"], mark["node"]) for mark in case.marks("failure")]


def kill_rank(case: Case, rank: int) -> None:
    os.kill(harm.ranks(case.folder, rank)[0], signal.SIGKILL)
