"""Trainings of commands that a test runs on this machine, as forks."""

from __future__ import annotations

import pytest

from tests.forkserver.client import ROOT, ForkServer
from tests.forkserver.site.sitecustomize import SOCKET
from tests.train.running import caches, environment

SITE = ROOT / "tests/forkserver/site"


@pytest.fixture(scope="session")
def forked_trainings() -> dict[str, str]:
    """Variables of a home whose launchers and ranks have their imports behind them."""
    server = ForkServer(environment(**caches()))
    return {SOCKET: server.socket, "PYTHONPATH": f"{SITE}:{ROOT}"}
