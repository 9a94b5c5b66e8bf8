"""Rows of JSON lines, and of JSON files: a list of objects, or objects one after another."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.dataset.formats import compression_of, suffix_of
from hpclaunch.dataset.json_text import (
    DECODER,
    DuplicateKeyError,
    checked,
    decoded,
    fault,
    object_of,
)
from hpclaunch.dataset.rows import MOST_BYTES, REPAIR, Lines, Position, Row
from hpclaunch.errors import UserError
from hpclaunch.units import size

LAST_BYTES = 1_000_000
"""Bytes at the end of a file in which its last line is looked for."""


def json_rows(file: Path, position: Position) -> Iterator[Row]:
    """Return the rows of a file. Raises UserError naming the line of what is no row."""
    with file.open("rb") as raw:
        content_of_file = Lines(file, raw, position)
        if content_of_file.begins_with(b"["):
            yield from _values(file, 1, content_of_file.texts())
            return
        lines = iter(content_of_file)
        for number, line in lines:
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not content.strip():
                continue
            text = decoded(content, f"{file}:{number}")
            if _spans_lines(text, file):
                yield from _values(file, number, _texts(file, text, lines))
                return
            yield Row(file, number, object_of(text, f"{file}:{number}"))
            break
        for number, line in lines:
            if not line.strip():
                continue
            text = decoded(line, f"{file}:{number}")
            try:
                row = Row(file, number, object_of(text, f"{file}:{number}"))
            except UserError as error:
                if suffix_of(file) != ".json":
                    raise
                # An object over several lines, behind others that have a line each.
                yield from _values(file, number, _texts(file, text, lines), error)
                return
            yield row


def _spans_lines(text: str, file: Path) -> bool:
    """Return whether a file with this first line is read as values rather than as lines."""
    if text.startswith("["):  # behind many blanks
        return True
    if suffix_of(file) != ".json":
        return False
    try:
        _, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return True
    return bool(text[end:].strip())


def _texts(file: Path, text: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    """Return a line that was read, and the text of those behind it."""
    yield text + "\n"
    for number, line in lines:
        yield decoded(line, f"{file}:{number}") + "\n"


def _values(
    file: Path,
    first: int,
    texts: Iterator[str],
    otherwise: UserError | None = None,
) -> Iterator[Row]:
    """Return the objects of a list, or objects that follow each other, over several lines.

    `otherwise` is raised where no object begins in the first line.
    """
    buffer = _Buffer(file, first, texts)
    if otherwise is not None:
        try:
            yield Row(file, first, buffer.value())
        except UserError:
            raise otherwise from None
    in_list = otherwise is None and buffer.skip() == "["
    if in_list:
        buffer.take(1)
    line = first
    expected = False  # a comma has been read, or nothing yet
    while True:
        character = buffer.skip()
        if not character:
            if in_list:
                raise UserError(
                    f"{file}:{line}: the file ends after this row, within its list",
                    "copy or write the file anew",
                )
            return
        if in_list and character == "]" and not expected:
            buffer.take(1)
            if buffer.skip():
                raise UserError(
                    f"{file}:{buffer.line}: more follows after the end of the list", REPAIR
                )
            return
        line = buffer.line
        yield Row(file, line, buffer.value())
        if in_list and buffer.skip() == ",":
            buffer.take(1)
            expected = True
        elif in_list and buffer.skip() not in ("]", ""):
            raise UserError(f"{file}:{buffer.line}: a comma is missing between two rows", REPAIR)
        else:
            expected = False


class _Buffer:
    """Text of a file from where it is being read on, and the line that it begins in."""

    def __init__(self, file: Path, line: int, texts: Iterator[str]) -> None:
        self._file, self._texts = file, texts
        self._text, self._at = "", 0
        self.line = line

    def skip(self) -> str:
        """Skip blanks; return the next character, '' at the end of the file."""
        while True:
            rest = self._text[self._at : self._at + 1]
            if rest and not rest.isspace():
                return rest
            if not rest and not self._more():
                return ""
            if rest:
                self.take(1)

    def take(self, characters: int) -> str:
        """Return the next characters, and move on behind them."""
        taken = self._text[self._at : self._at + characters]
        self.line += taken.count("\n")
        self._at += characters
        if self._at > 1 << 20:
            self._text, self._at = self._text[self._at :], 0
        return taken

    def value(self) -> dict[str, Any]:
        """Return the object that begins here. Raises UserError."""
        where = f"{self._file}:{self.line}"
        if self.skip() != "{":
            raise UserError(f"{where}: a row must be a JSON object", REPAIR)
        before = -1
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except DuplicateKeyError as error:
                raise fault(error, "", where) from None
            except (ValueError, RecursionError) as error:
                # What is cut off by the end of the buffer may be whole with more of the file.
                read = len(self._text) - self._at
                place = error.pos - self._at if isinstance(error, json.JSONDecodeError) else -2
                if place == before and "Unterminated" not in str(error):
                    raise self._broken(error) from None
                if read > MOST_BYTES:
                    raise UserError(
                        f"{where}: no row ends within {size(MOST_BYTES)} from here",
                        "write JSON lines, a row a line",
                    ) from None
                if not self._more(read):
                    raise self._broken(error) from None
                before = place
                continue
            taken = self.take(end - self._at)
            return checked(value, taken, where)

    def _broken(self, error: Exception) -> UserError:
        """Return the error for what is no JSON, with the line where it goes wrong."""
        if isinstance(error, json.JSONDecodeError):
            line = self.line + self._text.count("\n", self._at, error.pos)
            begin = self._text.rfind("\n", 0, error.pos) + 1
            end = self._text.find("\n", error.pos)
            text = self._text[begin : end if end >= 0 else None]
            inner = json.JSONDecodeError(error.msg, text, error.pos - begin)
            return fault(inner, text, f"{self._file}:{line}")
        return fault(error, "", f"{self._file}:{self.line}")

    def _more(self, characters: int = 1) -> bool:
        """Read at least so many further characters, if there are; whether there were any."""
        parts, read = [], 0
        for text in self._texts:
            parts.append(text)
            read += len(text)
            if read >= characters:
                break
        self._text = self._text[self._at :] + "".join(parts)
        self._at = 0
        return any(parts)


def check_end(file: Path) -> None:
    """Look at the last line of an uncompressed file: one that was cut short ends in half a row.

    Raises UserError.
    """
    if compression_of(file):
        return
    with file.open("rb") as stream:
        first = stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
        stream.seek(max(0, file.stat().st_size - LAST_BYTES))
        lines = [line for line in stream.read().split(b"\n") if line.strip()]
    where = f"{file}, last line"
    if first.startswith(b"["):
        if lines and not lines[-1].rstrip().endswith(b"]"):
            raise UserError(f"{where}: the list does not end: it was cut short", "copy it anew")
    elif len(lines) > 1 and suffix_of(file) != ".json":  # else one line longer than what was read
        object_of(decoded(lines[-1], where), where)
