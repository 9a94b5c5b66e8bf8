"""A disk that fills up between the submission and the record: the job's number is not lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Home

SBATCH = """#!/bin/bash
case "$*" in *--test-only*) echo 'sbatch: Job 1 to start at now' >&2; exit 0;; esac
dd if=/dev/zero of={disk}/filler bs=4k 2>/dev/null
echo 4711
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs with a megabyte of room."""
    folder = tmp_path / "runs"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_number_of_a_queued_job_is_said(disk: Path) -> None:
    home = Home(disk.parent)
    programs = home.bare_path()
    for name, text in (("sbatch", SBATCH.format(disk=disk)), ("squeue", "#!/bin/bash\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "dd").symlink_to("/usr/bin/dd" if Path("/usr/bin/dd").exists() else "/bin/dd")
    for name in ("sinfo", "scontrol", "sacct", "srun"):
        (programs / name).write_text("#!/bin/bash\nexit 1\n")
        (programs / name).chmod(0o755)
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", "--runs-dir", str(disk))
    assert (done.code, done.err.count("Traceback")) == (1, 0), done
    assert "job 4711 is in the queue" in done.err
    assert "scancel 4711" in done.err
