"""Which run is meant."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.find import default_runs_dir, find, index_file, known, next_name, remember
from tests.run.making import run_in


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, with nobody's list of runs beside it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def name_of(reference: str | None, runs: Path) -> str:
    return find(reference, runs)[1].name


def test_by_name_folder_job_id_or_the_newest(runs: Path) -> None:
    run_in(runs / "a", created=1.0, job_id="41")
    run_in(runs / "b", created=3.0, job_id="42")
    run_in(runs / "c", created=2.0)
    assert name_of("a", runs) == "a"
    assert name_of(str(runs / "c"), runs) == "c"
    assert name_of("runs/c", runs) == "c"
    assert name_of("42", runs) == "b"
    assert name_of(None, runs) == "b"
    assert find("a")[0].root == runs / "a", "the folder of runs is the default one"


def test_of_two_by_a_name_the_one_here(runs: Path, tmp_path: Path) -> None:
    """Names repeat from project to project: a command must not act on another one's run."""
    remember(run_in(tmp_path / "elsewhere" / "a", created=2.0, job_id="5"))
    assert find("a", runs)[0].root == tmp_path / "elsewhere" / "a"
    run_in(runs / "a", created=1.0)
    assert find("a", runs)[0].root == runs / "a"
    assert find("5", runs)[0].root == tmp_path / "elsewhere" / "a"


def test_of_two_elsewhere_neither_is_guessed(runs: Path, tmp_path: Path) -> None:
    for place in ("one", "other"):
        remember(run_in(tmp_path / place / "a", created=2.0))
    with pytest.raises(UserError, match="2 runs are called 'a', none of them here") as told:
        find("a", runs)
    assert f"{tmp_path}/one/a, {tmp_path}/other/a" in told.value.fix
    assert find(str(tmp_path / "one/a"), runs)[0].root == tmp_path / "one/a"


def test_runs_elsewhere_are_found_by_the_list_of_runs(runs: Path, tmp_path: Path) -> None:
    far = run_in(tmp_path / "far" / "x", job_id="7")
    with pytest.raises(UserError):
        find("x", runs)
    remember(far)
    remember(far)
    assert name_of("7", runs) == "x"
    assert len(list(known(runs))) == 1, "listed twice, given once"


def test_a_deleted_or_damaged_run_hides_no_other(runs: Path, tmp_path: Path) -> None:
    good = run_in(runs / "good")
    run_in(runs / "bad").record.write_text("{")
    gone = run_in(tmp_path / "gone")
    remember(gone)
    gone.record.unlink()
    with index_file().open("ab") as stream:
        stream.write(b"\0\0\0\n" + b"/x" * 3000 + b"\n\n/a\0b\n")
    remember(good)
    assert [folder.root for folder, _ in known(runs)] == [good.root]
    index_file().write_bytes(b"\xff\xfe")
    assert [folder.root for folder, _ in known(runs)] == [good.root]


def test_no_run_yet(runs: Path) -> None:
    with pytest.raises(UserError, match="no run yet; start one"):
        find(None, runs)
    with pytest.raises(UserError, match="no run called 'x'"):
        find("x", runs)


def test_a_name_misspelt_gets_the_nearest(runs: Path) -> None:
    run_in(runs / "llama3-70b-lora-1")
    with pytest.raises(UserError, match="did you mean 'llama3-70b-lora-1'"):
        find("lama3-70b-lora-1", runs)


@pytest.mark.parametrize("reference", ["./nothing", "/", "x" * 5000, "a\0b", "/" + "y" * 5000])
def test_what_is_no_run_is_said_in_a_line(runs: Path, reference: str) -> None:
    with pytest.raises(UserError) as caught:
        find(reference, runs)
    assert str(caught.value).isprintable()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of runs that all may read, seen as a user who may not read one of them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        run_in(root / "ours")
        private = run_in(root / "private")
        (private.root).chmod(0o000)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield root
        finally:
            os.seteuid(was)
            private.root.chmod(0o700)


def test_a_run_of_someone_elses_that_is_closed_is_passed_over(shared: Path) -> None:
    assert [record.name for _, record in known(shared)] == ["ours"]
    with pytest.raises(UserError):
        find(str(shared / "private"), shared)


def test_the_next_name_is_free(runs: Path) -> None:
    assert next_name(runs, "tiny") == "tiny-1"
    (runs / "tiny-1").mkdir(parents=True)
    (runs / "tiny-3").touch()
    assert next_name(runs, "tiny") == "tiny-2"
    (runs / "tiny-2").mkdir()
    assert next_name(runs, "tiny") == "tiny-4"


def test_where_runs_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_runs_dir() == tmp_path / "runs"
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", "here")
    assert default_runs_dir() == tmp_path / "here"
    monkeypatch.delenv("HPCLAUNCH_RUNS_DIR")
    assert default_runs_dir() == tmp_path / "runs"


def test_a_list_of_runs_that_cannot_be_written_stops_nothing(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    remember(run_in(runs / "a"))
    assert name_of("a", runs) == "a"


def test_of_many_runs_the_last_are_named_by_number(runs: Path) -> None:
    for number in (9, 10, 2, *range(11, 31)):
        run_in(runs / f"tiny-{number}")
    with pytest.raises(UserError, match=r"23 there, among them: tiny-23, .*, tiny-29, tiny-30$"):
        find("x", runs)
