"""Find runs: by name, folder or job id, the newest by default."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpclaunch.errors import UserError, nearest
from hpclaunch.frozen import frozen
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.owner import is_own
from hpclaunch.run.record import Record, read_record

CLOCKS_APART_S = 86400.0
"""How far ahead the clock of another machine may be."""


def default_runs_dir() -> Path:
    """Return where runs go: `$HPCLAUNCH_RUNS_DIR`, or `runs` in the current folder."""
    return Path(os.environ.get("HPCLAUNCH_RUNS_DIR") or "runs").absolute()


def index_file() -> Path:
    """Return the list of runs started by this user, one folder a line, oldest first."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "hpclaunch" / "runs"


def remember(folder: RunFolder) -> None:
    """Add a run to the index, so that it is found from any folder. Failing is no failure."""
    path = index_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{folder.root}\n")
    except OSError:
        return


def index_problem(folder: RunFolder) -> str | None:
    """Return why a run is not found from other folders by its name; None where it is."""
    try:
        if str(folder.root) in _index():
            return None
        why = "the run is not in it"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is damaged"
    return (
        f"your list of runs cannot be written ({index_file()}: {why}): elsewhere, name the run by "
        f"its folder {folder.root}"
    )


def next_name(runs_dir: Path, recipe: str) -> str:
    """Return the next free name for a run of `recipe`: `tiny-1`, `tiny-2`, ..."""
    number = 1
    while os.path.lexists(runs_dir / f"{recipe}-{number}"):
        number += 1
    return f"{recipe}-{number}"


def find(reference: str | None = None, runs_dir: Path | None = None) -> tuple[RunFolder, Record]:
    """Return the run meant by a name, a folder or a job id; without one, the newest here.

    Looked for in `runs_dir` (by default where runs go), whose runs win over all others, and in the
    list of runs started. Raises UserError where there is none, or several elsewhere.
    """
    if not isinstance(reference, str | None):
        raise UserError(f"find({reference!r}): expected a run's name, folder or job id as text")
    if reference is not None and _has_record(Path(reference)):
        folder = RunFolder(Path(reference).absolute())
        return folder, read_record(folder)
    if reference is not None and "/" in reference:
        raise UserError(f"{reference} is no run folder: it has no run.json")
    own = (runs_dir or default_runs_dir()).absolute()
    listed = list(every(own))
    runs = [(run.folder, run.record) for run in listed if run.record is not None]
    if reference is None:
        if not runs:
            _refuse_unreadable(listed)
            raise UserError("there is no run yet", "start one: hpclaunch local")
        # Of a folder that many share, another's is nobody's newest.
        mine = [run for run in runs if is_own(run[0])]
        return max(mine or runs, key=lambda run: (run[0].root.parent == own, _created(run[1])))
    named = [run for run in runs if reference in {run[1].name, run[1].job_id}]
    if not named:
        _refuse_unreadable([run for run in listed if run.folder.root.name in {reference, own.name}])
        raise UserError(
            f"no run called '{reference}' here or in your list of runs",
            nearest(reference, {record.name for _, record in runs}, most=8) if runs else "",
        )
    if all(run[1].name != reference for run in named):
        # A number of a job: in a shared folder, another's run may claim that of mine.
        named = [run for run in named if is_own(run[0])] or named
    here = [run for run in named if run[0].root.parent == own]
    by_name = [run for run in named if run[1].name == reference]
    if not here and len(by_name) > 1:
        folders = ", ".join(str(folder.root) for folder, _ in by_name[-4:])
        raise UserError(
            f"{len(by_name)} runs are called '{reference}', none of them here",
            f"name the folder: {folders}",
        )
    return max(here or named, key=lambda run: _created(run[1]))


def _created(record: Record) -> float:
    """Return when a run was made; a time in the future is none."""
    return record.created if record.created <= time.time() + CLOCKS_APART_S else 0.0


@frozen
class Listed:
    """A run that is known by its folder."""

    folder: RunFolder
    record: Record | None
    """None where it cannot be read."""
    problem: str = ""
    """Why it cannot be read."""


def known(runs_dir: Path, most: int = 0) -> Iterator[tuple[RunFolder, Record]]:
    """Return every run in `runs_dir` and in the index that can be read, each once.

    `most`: so many of the index at most, the last that were started; 0: all of them.
    """
    for run in every(runs_dir, most):
        if run.record is not None:
            yield run.folder, run.record


def every(runs_dir: Path, most: int = 0) -> Iterator[Listed]:
    """Return every run in `runs_dir` and in the index, each once, those too that are damaged.

    A `runs_dir` that cannot be read is one of them. Runs that are gone, and folders of other users
    that are closed to us, are left out. `most` is as in `known`.
    """
    seen: set[Path] = set()
    listed: list[Path] = []
    try:
        listed += [entry for entry in runs_dir.iterdir() if _has_record(entry)]
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = f"{runs_dir} cannot be read: {error.strerror}"
        yield Listed(RunFolder(runs_dir), None, problem)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        listed += [Path(line) for line in _index()[-most:]]
    for root in listed:
        if root in seen:
            continue
        seen.add(root)
        if not _has_record(root):
            continue
        folder = RunFolder(root)
        try:
            yield Listed(folder, read_record(folder))
        except UserError as error:
            if _has_record(root):  # not removed just now
                yield Listed(folder, None, error.message)


def _refuse_unreadable(listed: Iterable[Listed]) -> None:
    """Raise UserError for the first of them that cannot be read."""
    for run in listed:
        if run.problem:
            raise UserError(run.problem)


def _index() -> list[str]:
    return [line for line in index_file().read_text("utf-8").split("\n") if line]


def _has_record(folder: Path) -> bool:
    """Whether a folder is a run's that we may read: others' runs lie in shared folders too."""
    # A Path for each of some hundred folders takes a tenth of a dry run.
    return os.path.isfile(f"{folder}/run.json")  # noqa: PTH113 - see above
