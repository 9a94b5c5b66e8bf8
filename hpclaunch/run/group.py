"""A group of runs: the folder of a sweep or a pipeline, beside the run folders it names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from hpclaunch.errors import UserError, nearest
from hpclaunch.run.find import default_runs_dir, index_file
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.owner import require_own_files
from hpclaunch.run.record import read_record
from hpclaunch.run.regular_file import read_regular
from hpclaunch.run.unfinished import LISTS_RUNS, remove_unfinished, unfinished_folder

SWEEP_FILE = LISTS_RUNS
PIPELINE_FILE = "pipeline.json"
ARRAY_SCRIPT = "array.sbatch"
"""The script of a job array, in a sweep's folder."""

_MAX_BYTES = 1 << 24

T = TypeVar("T", bound=msgspec.Struct)


def group_folder(reference: str, file: str, runs_dir: Path | None = None) -> Path | None:
    """Return the folder of the group that a name or a folder means, None where there is none.

    `file` is what makes it one: SWEEP_FILE or PIPELINE_FILE. Looked for where runs go, then beside
    every run that was started.
    """
    if not reference or "\0" in reference:
        return None
    for place in _places(reference, runs_dir or default_runs_dir()):
        with contextlib.suppress(OSError):
            if (place / file).is_file():
                return place.absolute()
    return None


def _places(reference: str, runs_dir: Path) -> Iterator[Path]:
    yield Path(reference)
    if "/" in reference or reference in {".", ".."}:
        return
    yield runs_dir / reference
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = index_file().read_text("utf-8").splitlines()
        for parent in dict.fromkeys(Path(line).parent for line in reversed(lines)):
            yield parent / reference


def find_group(reference: str, file: str) -> Path:
    """Return the folder of the group that is meant. Raises UserError where there is none."""
    folder = group_folder(reference, file)
    if folder is None:
        kind = file.partition(".")[0]
        here = default_runs_dir()
        names = [path.parent.name for path in here.glob(f"*/{file}")]
        fix = nearest(reference, names, most=8) if names else f"there is none in {here}"
        raise UserError(f"no {kind} called '{reference}'", fix)
    return folder


def read_group(folder: Path, file: str, kind: type[T]) -> T:
    """Read what describes a group. Raises UserError where it is missing or damaged."""
    path = folder / file
    try:
        return msgspec.json.decode(read_regular(path, _MAX_BYTES), type=kind)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


def require_own_group(folder: Path, file: str, action: str, runs: Iterable[RunFolder]) -> None:
    """Refuse to act on another user's group, or on runs that are not the group's. Raises UserError.

    Those of a copy beside its original are the original's. Where the runs were copied with it, or
    the original is gone, they are its own.
    """
    require_own_files(folder, file, action)
    name = read_group(folder, file, _Named).name or folder.name
    copied = name != folder.name and Path(name).name == name
    if copied and (folder.parent / name / file).is_file():
        raise UserError(
            f"{folder} is a copy of {name}, and its runs are those of {name}",
            f"{action} {name}; or copy the whole of {folder.parent}",
        )
    for run in runs:
        with contextlib.suppress(OSError):
            if run.record.is_file() and read_record(run).group != name:
                raise UserError(
                    f"{run.root} is no run of {folder.name}", f"{action} the runs one by one"
                )


def write_group(folder: Path, file: str, value: msgspec.Struct) -> None:
    """Write what describes a group, whole or not at all. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    write_atomic(folder / file, text + "\n")


@contextlib.contextmanager
def new_group_folder(folder: Path) -> Iterator[Path]:
    """Make a group's folder, which is in its place once the block has ended; nothing before.

    What a killed command left is removed. Raises UserError where the name is taken or the folder
    above it cannot be made, and OSError where it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"folder {folder} cannot be made: {error.strerror}", "choose another --runs-dir"
        ) from None
    remove_unfinished(folder.parent)
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already", "choose another --name")
    with unfinished_folder(folder) as made:
        yield made.root
        made.root.rename(folder)
