"""Trainings of commands that a test runs on this machine, as forks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.forkserver.client import ROOT, ForkServer
from tests.forkserver.site.sitecustomize import SOCKET

SITE = ROOT / "tests/forkserver/site"


@pytest.fixture(scope="session")
def forked_trainings() -> Iterator[dict[str, str]]:
    """Variables of a home whose launchers and ranks have their imports behind them."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    server = ForkServer({**os.environ, **offline, "PYTHONPATH": str(ROOT)})
    yield {SOCKET: server.socket, "PYTHONPATH": f"{SITE}:{ROOT}"}
    server.stop()
