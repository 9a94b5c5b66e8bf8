"""Rows of local data, one after another: the same at submission and in the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from hpclaunch.dataset.formats import BROKEN_COMPRESSION, open_packed
from hpclaunch.errors import UserError

REPAIR = "repair the row or take it out"


class Row(NamedTuple):
    """One row, and where it stands."""

    file: Path
    number: int
    """Line in a text file, else the row's number in its file; the first is 1."""
    values: dict[str, Any]
    is_line: bool = True

    @property
    def where(self) -> str:
        """The row's place, for messages."""
        return f"{self.file}:{self.number}" if self.is_line else f"{self.file}, row {self.number}"


@dataclass
class Position:
    """How far a file has been read."""

    bytes: int = 0
    """Bytes on disk, so far."""


class Lines:
    """Lines of a text file as bytes, unpacked where it is compressed; keeps a position up to date.

    Raises UserError for a compressed file that is damaged.
    """

    def __init__(self, file: Path, raw: IO[bytes], position: Position) -> None:
        self._file, self._raw, self._position = file, raw, position
        self.stream = open_packed(file, raw)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Return number and bytes of every line."""
        with damage_named(self._file):
            for number, line in enumerate(self.stream, 1):
                if number % 64 == 0:
                    self._position.bytes = self._raw.tell()
                yield number, line


@contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Turn what a damaged compressed file raises into a UserError."""
    try:
        yield
    except (*BROKEN_COMPRESSION, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of what was packed
        raise UserError(
            f"{file} is damaged or cut short: {error}", "copy or write the file anew"
        ) from None


def not_utf8(line: bytes, error: UnicodeDecodeError, where: str) -> UserError:
    """Return the error that says which byte is none of UTF-8, and what to convert from."""
    marked = line.startswith((b"\xff\xfe", b"\xfe\xff"))
    return UserError(
        f"{where}: not UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}",
        f"convert the file: iconv -f {'utf-16' if marked else 'latin1'} -t utf-8",
    )


def refused(where: str, problem: str) -> UserError:
    """Return the error of a row. A problem that names its own fix has it behind a semicolon."""
    message, _, fix = problem.partition("; ")
    return UserError(f"{where}: {message}", fix or REPAIR)
