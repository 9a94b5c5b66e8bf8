"""Copy numbers and text out of a folder that somebody else may write while it is read."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import NotRegularFileError, open_regular

SUFFIXES = {
    ".safetensors", ".json", ".jsonl", ".txt", ".model", ".jinja", ".md", ".tiktoken", ".vocab",
}  # fmt: skip
"""Of files that hold numbers or text, and that no library runs."""
MAX_FILES = 100_000
PIECE = 1 << 24
"""Bytes that are copied at once."""
MAX_EVENT_BYTES = 1 << 30
MAX_DIGEST_BYTES = 1 << 26
_STEP = re.compile(r"step-([0-9]{1,12})")


@dataclass
class Copied:
    """What was copied, and what was not."""

    checkpoint: str = ""
    """The newest checkpoint's name; '' where there is none."""
    final: bool = False
    """The final weights are among it."""
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    """Names of what is no plain file of numbers or text: links, programs, pickles."""


def copy_results(source: RunFolder, target: RunFolder) -> Copied:
    """Copy the newest checkpoint, the final weights and the events of a run.

    Raises OSError, and UserError for a folder without end.
    """
    copied = Copied()
    newest = newest_checkpoint(source)
    if newest is not None:
        target.checkpoints.mkdir()
        _copy_folder(newest, target.checkpoints / newest.name, copied)
        copied.checkpoint = newest.name
        _copy_file(source.checkpoint_digests, target.checkpoint_digests, MAX_DIGEST_BYTES)
    if source.final.is_dir() and not source.final.is_symlink():
        _copy_folder(source.final, target.final, copied)
        copied.final = True
    _copy_file(source.events, target.events, MAX_EVENT_BYTES)
    _copy_file(source.exit_code_file, target.exit_code_file, 16)
    return copied


def newest_checkpoint(run: RunFolder) -> Path | None:
    """Return the newest checkpoint's folder, None where there is none. Raises OSError."""
    if not run.checkpoints.is_dir() or run.checkpoints.is_symlink():
        return None
    steps: list[tuple[int, Path]] = []
    for path in run.checkpoints.iterdir():
        step = _STEP.fullmatch(path.name)
        if step and path.is_dir() and not path.is_symlink():
            steps.append((int(step.group(1)), path))
    return max(steps)[1] if steps else None


def _copy_file(source: Path, target: Path, max_bytes: int) -> None:
    """Copy a text file where there is one; none that is no plain file, or larger."""
    try:
        with open_regular(source) as stream:
            if os.fstat(stream.fileno()).st_size > max_bytes:
                return
            with target.open("xb") as copy:
                _copy_content(stream.fileno(), copy.fileno())
    except (FileNotFoundError, NotRegularFileError):
        return


def _copy_folder(source: Path, target: Path, copied: Copied) -> None:
    """Copy a folder's files; no link is followed, nor one that is put there meanwhile."""
    count = 0
    for place, _folders, files, descriptor in os.fwalk(source, follow_symlinks=False):
        inner = Path(place).relative_to(source)
        (target / inner).mkdir()
        for name in files:
            count += 1
            if count > MAX_FILES:
                raise UserError(f"{source} has more than {MAX_FILES:,} files")
            if name.startswith("."):
                continue
            if Path(name).suffix not in SUFFIXES or not _copy_plain(
                name, descriptor, target / inner / name, copied
            ):
                copied.left_out.append(str(source.name / inner / name))


def _copy_plain(name: str, folder: int, target: Path, copied: Copied) -> bool:
    """Copy a file of an open folder; returns False where it is no plain file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb"):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        with target.open("xb") as copy:
            copied.bytes += _copy_content(descriptor, copy.fileno())
    return True


def _copy_content(source: int, target: int) -> int:
    """Copy one open file into another, in the kernel, and return its bytes. Raises OSError.

    File systems that can, share the blocks or copy on their server.
    """
    size = 0
    try:
        while copied := os.copy_file_range(source, target, PIECE):
            size += copied
    except OSError:  # not every pair of file systems can
        while rest := os.read(source, PIECE):
            size += len(rest)
            while rest:
                rest = rest[os.write(target, rest) :]
    return size
