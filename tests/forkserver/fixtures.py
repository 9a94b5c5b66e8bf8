"""Trainings of commands that a test runs on this machine, as forks."""

from __future__ import annotations

import pytest

from tests.forkserver.client import ROOT
from tests.forkserver.site.sitecustomize import SOCKET
from tests.train.running import environment, shared_server

SITE = ROOT / "tests/forkserver/site"


@pytest.fixture(scope="session")
def forked_trainings() -> dict[str, str]:
    """Variables of a home whose launchers and ranks have their imports behind them."""
    server = shared_server(environment())
    assert server is not None
    return {SOCKET: server.socket, "PYTHONPATH": f"{SITE}:{ROOT}"}
