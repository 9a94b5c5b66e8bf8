from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitors.fake_nvml import build_fake_nvml


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_nvml(tmp_path_factory.mktemp("nvml"))
