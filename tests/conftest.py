"""What holds for all tests: how they are spread over workers, and what is printed at the end.

The slow faults are left to `make faults` and `make verdicts`; how many is printed.
"""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tests.forkserver.client import MAIN, SERVERS
from tests.forkserver.fixtures import forked_trainings
from tests.forkserver.server import OBJECTS
from tests.slurm.fixtures import forks, slurm, user
from tests.slurm.table import Table, Verdicts

__all__ = ["forked_trainings", "forks", "slurm", "user"]  # fixtures, made once for all folders

# Small models: a second thread of torch waits for the first one and keeps a core busy meanwhile.
# Read when torch is imported, here and in the programs that the tests start.
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
# What a test starts without a home of its own is in no list of this user's runs.
_STATE = tempfile.TemporaryDirectory(prefix="hpclaunch-tests-")
os.environ["XDG_STATE_HOME"] = _STATE.name
os.environ.setdefault(SERVERS, _STATE.name)  # workers have them from the process that started them
os.environ.setdefault(MAIN, str(os.getpid()))
# The programs that tests start are compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no failure: what watches the clock does so by itself.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

ALONE = "tests/slurm/verdicts"
"""Where tests are marked `alone`: their own run need not collect all others."""

LONGEST_NAME = 200
"""Characters of a parameter in a test's name."""

TABLE = Table()
VERDICTS = Verdicts()
LEFT_OUT = pytest.StashKey[int]()


def pytest_configure() -> None:
    """Take Ctrl-C as a terminal's child does: a shell's background job inherits that it is ignored.

    What the tests start would inherit it, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage while tests are collected, and none of what stays later.

    What they import makes a million objects, which every collection would look at.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(OBJECTS)
        gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its beginning: a test's name goes to and fro between processes."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_NAME:
        return f"{argname} of {len(val)}, {val[:40]!r}"
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name the group whose tests one worker runs, one after the other (`--dist loadgroup`)."""
    if item.get_closest_marker("alone") and not item.nodeid.startswith(ALONE):
        raise pytest.UsageError(f"{item.nodeid}: `make test` looks for `alone` in {ALONE} only")
    item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """Return `slurm` for what runs on a throwaway cluster, `train` for what shares trainings.

    Slurm's tests share a cluster, but for `own-clusters`, which need one that is made otherwise;
    simulations what the first one in a process takes long to set up. All others share no more than
    the fixtures of their module.
    """
    module = item.nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")
    if "slurm" in getattr(item, "fixturenames", ()):
        return "slurm"
    if item.get_closest_marker("slurm"):
        return "own-clusters"
    if module in _TOGETHER:
        return _TOGETHER[module]
    if "forked_trainings" in getattr(item, "fixturenames", ()):
        return "forked-trainings"
    return module


@pytest.hookimpl(trylast=True)  # after -m has deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow faults, unless they are wanted by their mark or their file.

    Among several workers the long groups come first, so that the short ones fill what is left.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        if items and not items[0].nodeid.endswith(f"@{_group(items[0])}"):
            raise pytest.UsageError("this pytest-xdist does not keep groups on one worker")
        items.sort(key=_order)
    wanted = "faults" in config.option.markexpr or any("faults" in word for word in config.args)
    slow = [item for item in items if item.get_closest_marker("faults")]
    if wanted or not slow:
        return
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
    config.stash[LEFT_OUT] = len(slow)


_TOGETHER = {
    f"train/test_{name}": group
    for group, names in {
        "train": "async_save kept_weights lora methods prepared remote_checkpoints trust upload",
        "simulations": "inference_memory moved simulate simulation_values",
    }.items()
    for name in names.split()
}


def _order(item: pytest.Item) -> int:
    """Return the place of its group among all: the long ones first, then other trainings."""
    group = _group(item)
    if group in _FIRST:
        return _FIRST.index(group)
    return len(_FIRST) + (not group.startswith("train/"))


_FIRST = ["slurm", "train", "own-clusters", "simulations", "forked-trainings"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what is printed at the end to the process that prints it, from a worker."""
    gc.freeze()  # pytest looks for garbage five times at its end, among a million objects that stay
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(LEFT_OUT, 0)
        output["faults"], output["verdicts"] = TABLE.rows, VERDICTS.rows


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker has left to print."""
    output = getattr(node, "workeroutput", {})  # none of one that crashed
    TABLE.rows += output.get("faults", [])
    VERDICTS.rows += output.get("verdicts", [])
    if output.get("left_out"):
        node.config.stash[LEFT_OUT] = output["left_out"]  # the same in each of them


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


KEPT_BY_PYTEST = "PYTEST_CURRENT_TEST"


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    """Take back the variables that a test's code set in this process, as accelerate's does.

    Programs of later tests would inherit them; and none of those could be forked
    (`tests.forkserver`), which makes the suite slow and not wrong.
    """
    before = dict(os.environ)
    yield
    before.pop(KEPT_BY_PYTEST, None)
    for name in os.environ.keys() - before.keys() - {KEPT_BY_PYTEST}:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@pytest.fixture(scope="session")
def table() -> Table:
    """Where faults leave what they cost."""
    return TABLE


@pytest.fixture(scope="session")
def verdicts() -> Verdicts:
    """Where faults leave what the report said of them."""
    return VERDICTS
