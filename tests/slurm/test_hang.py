"""A rank that hangs: its training ends by the collective's time limit, and comes back."""

from __future__ import annotations

import os
import signal

import pytest

from tests.slurm import harm
from tests.slurm.case import Case
from tests.slurm.faults.ends import RESUMED, blamed, resumed
from tests.slurm.table import Table
from tests.slurm.user import User

pytestmark = [pytest.mark.slurm, pytest.mark.train]


def test_a_rank_hangs(user: User, table: Table) -> None:
    case = Case(user, "hurt")
    case.start("training.ddp_timeout=12", steps=12)
    case.hurt(lambda: os.kill(harm.ranks(case.folder, 1)[0], signal.SIGSTOP))
    case.wait_until_gone(60 + 12)
    case.wait_for(lambda: case.status()["state"] == "queued", 30)
    assert "rank 1 on node2: a collective timed out after 12 s" in case.status()["before"]
    cost = resumed(case, steps=12)
    assert blamed(case) == [("collective-timeout", "node2")]
    table.add("one rank hangs (SIGSTOP; `training.ddp_timeout=12`)", cost, RESUMED)
