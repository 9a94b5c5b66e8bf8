"""Without a recipe: the 70B where the GPUs hold it, else which one to name."""

from __future__ import annotations

from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.slurm import commands


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "available", lambda: False)


def drafted(program: tuple[str, ...] = (), **asked: Any) -> str:
    request = Request(site="generic", resources=Resources(**asked), program=program)
    return draft(request, {}).plan.recipe.name


def test_sixteen_a100_hold_it() -> None:
    assert drafted(nodes=4, gpus=4, gpu="a100_40") == "llama3-70b-lora"


@pytest.mark.parametrize(
    ("asked", "message", "fix"),
    [
        ({"gpus": 1, "gpu": "a100_40"}, "1 x 1 a100_40 do not hold", "fits: .*llama3-8b-lora"),
        ({"cpu_processes": 2}, "is not for CPUs", "name one: tiny"),
        ({"nodes": 4, "gpus": 4}, "4 x 4 GPUs hold the default.* is unknown", "by --gpu, or a"),
    ],
)
def test_others_do_not(asked: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(UserError, match=f"no recipe is named, .*{message}.*; .*{fix}") as caught:
        drafted(**asked)
    assert "70b" not in caught.value.fix
    assert drafted(program=("train.py",), **asked)
