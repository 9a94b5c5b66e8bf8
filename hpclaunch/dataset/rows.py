"""Rows of local data, one after another: the same at submission and in the job."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from hpclaunch.dataset.formats import BROKEN_COMPRESSION, open_packed
from hpclaunch.errors import UserError
from hpclaunch.units import size

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


MOST_BYTES = 64_000_000
"""Bytes that a line, or an object of a list, may have."""

PIECE_BYTES = 1 << 18
"""Bytes that are read at once where lines do not matter."""


class Lines:
    """Lines of a text file as bytes, unpacked where it is compressed; keeps a position up to date.

    Raises UserError for a compressed file that is damaged.
    """

    def __init__(self, file: Path, raw: IO[bytes], position: Position) -> None:
        self._file, self._raw, self._position = file, raw, position
        self.stream = open_packed(file, raw)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Return number and bytes of every line. Raises UserError for one without an end."""
        lines = iter(lambda: self.stream.readline(MOST_BYTES + 1), b"")
        with damage_named(self._file):
            for number, line in enumerate(lines, 1):
                if number % 64 == 0:
                    self._position.bytes = self._raw.tell()
                if len(line) > MOST_BYTES:
                    raise UserError(
                        f"{self._file}:{number}: the line has more than {size(MOST_BYTES)}",
                        "write JSON lines, a row a line",
                    )
                yield number, line

    def begins_with(self, text: bytes) -> bool:
        """Return whether the file begins with these bytes, behind blanks."""
        with damage_named(self._file):
            start: bytes = self.stream.peek(4096)  # type: ignore[attr-defined]  # buffered
        return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(text)

    def texts(self) -> Iterator[str]:
        """Return the text piece by piece, whatever the lines. Raises UserError."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        line = column = 0  # line breaks so far, and bytes behind the last
        pieces = iter(lambda: self.stream.read(PIECE_BYTES), b"")
        with damage_named(self._file):
            for piece in itertools.chain(pieces, [b""]):
                self._position.bytes = self._raw.tell()
                try:
                    yield decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    # The decoder had kept the first bytes of a character from the piece before.
                    before, at = error.object[: error.start], len(piece) - len(error.object)
                    line += before.count(b"\n")
                    column = (
                        len(before) - before.rfind(b"\n") + (0 if b"\n" in before else column + at)
                    )
                    where = f"{self._file}:{line + 1}"
                    raise _no_utf8(error, column, error.object, where) from None
                line += piece.count(b"\n")
                column = len(piece) - piece.rfind(b"\n") - 1 + (0 if b"\n" in piece else column)


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


def nul_byte(text: str, where: str) -> UserError:
    """Return the error for a line with a NUL byte, which UTF-16 has after each ASCII character."""
    wide = text.count("\0") * 3 > len(text) and bool(text.strip("\0"))
    return UserError(
        f"{where}: holds a NUL byte at column {text.index(chr(0)) + 1}",
        "convert the file: iconv -f utf-16le -t utf-8"
        if wide
        else "the file was damaged, or is no text: write it anew",
    )


def not_utf8(line: bytes, error: UnicodeDecodeError, where: str) -> UserError:
    """Return the error that says which byte is none of UTF-8, and what to convert from."""
    return _no_utf8(error, error.start + 1, line, where)


def _no_utf8(error: UnicodeDecodeError, column: int, text: bytes, where: str) -> UserError:
    marked = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return UserError(
        f"{where}: not UTF-8: byte 0x{error.object[error.start]:02x} at column {column}",
        f"convert the file: iconv -f {'utf-16' if marked else 'latin1'} -t utf-8",
    )


def unlike_first(first: Row | None, row: Row) -> str | None:
    """Return how a row's texts and lists differ from the first row's, None where they do not.

    A column holds either texts or lists of messages in all rows: training goes by the first.
    """
    if first is None:
        return None
    for name in ("prompt", "completion", "chosen", "rejected"):
        before, now = first.values.get(name), row.values.get(name)
        if (
            isinstance(before, str | list)
            and isinstance(now, str | list)
            and type(before) is not type(now)
        ):
            kinds = {str: "a text", list: "a list of messages"}
            return (
                f"'{name}' is {kinds[type(now)]}, and in the first row ({first.where}) it is "
                f"{kinds[type(before)]}; write all rows alike"
            )
    return None


def refused(where: str, problem: str) -> UserError:
    """Return the error of a row. A problem that names its own fix has it behind a semicolon."""
    message, _, fix = problem.partition("; ")
    return UserError(f"{where}: {message}", fix or REPAIR)
