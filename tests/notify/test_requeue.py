"""A job that goes back into the queue says so, once Slurm has taken it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.requeue import decide
from tests.run.making import record, run_in


@pytest.mark.parametrize("accepted", [True, False])
def test_a_requeue_is_told_where_slurm_accepts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    messages: list[str] = []
    monkeypatch.setattr("hpclaunch.slurm.requeue.requeue", lambda _: accepted)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(decide, "notify", lambda _, __, what: messages.append(what))
    assert decide.go_back(run_in(tmp_path / "a"), record(), "7") == 1
    assert messages == (["requeue"] if accepted else [])
