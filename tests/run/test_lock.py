"""Two commands do not write into one run folder at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import lock, unlock

HOLD = """
import sys
from pathlib import Path
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import lock
lock(RunFolder(Path(sys.argv[1])))
print("held", flush=True)
input()
"""


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
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


def test_a_folder_that_cannot_be_written_is_no_reason(tmp_path: Path) -> None:
    lock(RunFolder(tmp_path / "missing"))
