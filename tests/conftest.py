"""What holds for all tests: the slow faults are left to `make faults`, and said to be."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.slurm.table import Table, Verdicts

# Small models: a second thread of torch waits for the first one and keeps a core busy meanwhile.
# Read when torch is imported, here and in the programs that the tests start.
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# A busy machine makes the drawing of examples slow, and no test wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

TABLE = Table()
VERDICTS = Verdicts()


def pytest_configure() -> None:
    """Take Ctrl-C as a terminal's child does: a shell's background job inherits that it is ignored.

    What the tests start would inherit it, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow faults, unless they are asked for by their mark or their file."""
    asked = config.getoption("-m") or any("faults" in word for word in config.args)
    slow = [item for item in items if item.get_closest_marker("faults")]
    if asked or not slow:
        return
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
    config.stash[LEFT_OUT] = len(slow)


LEFT_OUT = pytest.StashKey[int]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of faults, and how many were left out."""
    left_out = config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(f"{left_out} slow faults left out: make faults, make verdicts")
    if TABLE.rows:
        terminalreporter.write_sep("-", "faults")
        terminalreporter.write_line(TABLE.text())
    if VERDICTS.rows:
        terminalreporter.write_sep("-", "verdicts")
        terminalreporter.write_line(VERDICTS.text())


@pytest.fixture(scope="session")
def table() -> Table:
    """Where faults leave what they cost."""
    return TABLE


@pytest.fixture(scope="session")
def verdicts() -> Verdicts:
    """Where faults leave what the report said of them."""
    return VERDICTS
