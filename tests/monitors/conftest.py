from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitors.browser import Browser, missing
from tests.monitors.fake_nvml import build_fake_nvml


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium; HPCLAUNCH_REQUIRE_BROWSER=1 makes its absence a failure."""
    reason = missing()
    if reason is not None:
        if os.environ.get("HPCLAUNCH_REQUIRE_BROWSER") == "1":
            pytest.fail(f"HPCLAUNCH_REQUIRE_BROWSER=1, but {reason}", pytrace=False)
        pytest.skip(f"pages are not opened in a browser: {reason}")
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()
