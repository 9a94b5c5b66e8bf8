"""Two commands do not write into one run folder at once."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.run import lease
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import lock, unlock

HOLD = """
import errno, fcntl, sys
if "no-locks" in sys.argv:
    def fail(*_): raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = fail
from pathlib import Path
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import lock
lock(RunFolder(Path(sys.argv[1])))
print("held", flush=True)
input()
"""


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no flock."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", fail)


@pytest.mark.parametrize("locks", ["locks", "no-locks"])
def test_a_second_process_is_refused_until_the_first_has_ended(
    tmp_path: Path, locks: str, request: pytest.FixtureRequest
) -> None:
    if locks == "no-locks":
        request.getfixturevalue("no_locks")
    folder = RunFolder(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), locks],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another command is at work"):
            lock(folder)
        process.kill()
    lock(folder)
    lock(folder)
    unlock(folder)
    unlock(folder)


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        lock(RunFolder(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_cannot_be_opened_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match=r"\.lock cannot be opened: Is a directory; remove it"):
        lock(RunFolder(tmp_path))


def test_a_folder_that_cannot_be_written_is_no_reason(tmp_path: Path) -> None:
    lock(RunFolder(tmp_path / "missing"))


def foreign_lease(path: Path, seconds_old: float) -> None:
    """A lease of a process on another machine."""
    holder = lease.Owner("ada", "login7", 4711, 1, "another boot", 0.0)
    path.write_bytes(msgspec.json.encode(holder))
    at = time.time() - seconds_old
    os.utime(path, (at, at))


@pytest.mark.usefixtures("no_locks")
def test_a_lease_of_another_machine_counts_until_it_expires(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    foreign_lease(folder.lease_file, lease.EXPIRES_S - 10)
    with pytest.raises(UserError, match=r"at work in run .* [(]ada on login7, process 4711[)]"):
        lock(folder)
    foreign_lease(folder.lease_file, lease.EXPIRES_S + 10)
    lock(folder)
    assert b"login7" not in folder.lease_file.read_bytes()
    unlock(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


@pytest.mark.usefixtures("no_locks")
def test_a_lease_is_renewed_and_one_that_was_taken_over_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.01)
    folder = RunFolder(tmp_path)
    lock(folder)
    os.utime(folder.lease_file, (0, 0))
    deadline = time.monotonic() + 20
    while folder.lease_file.stat().st_mtime < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert folder.lease_file.stat().st_mtime > 1
    foreign_lease(folder.lease_file, 0)
    unlock(folder)
    assert folder.lease_file.exists(), "it is another's now"


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("content", [b"", b"[" * 4000, b"x" * 9000])
def test_a_lease_that_says_nothing_counts_too(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.lease_file.write_bytes(content)
    with pytest.raises(UserError, match="its lease does not say whose"):
        lock(folder)
    os.utime(folder.lease_file, (0, 0))
    lock(folder)
    unlock(folder)
