"""Formats of data files: told from their suffixes, opened where they are compressed."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

from hpclaunch.errors import UserError
from hpclaunch.recipe.data_formats import COMPRESSED, SUFFIXES, TEXT_FORMATS, Format

BROKEN_COMPRESSION = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
"""What reading a compressed file raises where it is damaged or cut short."""

_ADVICE = {
    ".txt": 'write JSON lines, a document a line: {"text": "..."}',
    ".md": 'write JSON lines, a document a line: {"text": "..."}',
    ".zip": "unpack it, and name the folder",
    ".tar": "unpack it, and name the folder",
    ".tgz": "unpack it, and name the folder",
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".pkl": "a pickle can hold code: write JSON lines or Parquet",
    ".pickle": "a pickle can hold code: write JSON lines or Parquet",
    ".yaml": "write JSON lines",
    ".yml": "write JSON lines",
}


NO_ROWS = {".zip", ".tar", ".tgz", ".7z", ".rar", ".xlsx", ".xls", ".pkl", ".pickle", ".feather",
           ".orc", ".avro"}  # fmt: skip
"""Suffixes of files that may hold rows, and are not read."""


def is_unread(file: Path) -> bool:
    """Return whether a file may hold rows that are not read."""
    return suffix_of(file) in NO_ROWS


def format_of(file: Path) -> Format | None:
    """Return the format that a file's name says, None where it is no data file."""
    suffix, packed = suffix_of(file), compression_of(file)
    found = SUFFIXES.get(suffix)
    return None if packed and found not in TEXT_FORMATS else found


def suffix_of(file: Path) -> str:
    """Return a file's suffix in lower case, the one before the compression's."""
    name = file.with_suffix("") if compression_of(file) else file
    return name.suffix.lower()


def compression_of(file: Path) -> str | None:
    """Return the suffix of a file's compression, None where it has none."""
    suffix = file.suffix.lower()
    return suffix if suffix in COMPRESSED else None


def refusal(file: Path) -> UserError:
    """Return the error for a file that is no data file, with what to do about it."""
    suffix = file.suffix.lower()
    if compression_of(file):
        return UserError(
            f"{file}: not a data file that can be read compressed",
            "unpack it; JSON lines, JSON and CSV are read compressed",
        )
    return UserError(
        f"{file}: not a data file", _ADVICE.get(suffix, f"valid: {', '.join(SUFFIXES)}")
    )


def open_packed(file: Path, raw: IO[bytes]) -> IO[bytes]:
    """Return a stream of a file's bytes, unpacked where its name says so. `raw`: the open file.

    Raises UserError where nothing is there to unpack it with.
    """
    packed = compression_of(file)
    if packed is None:
        return raw
    if packed == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    if packed == ".bz2":
        return cast("IO[bytes]", bz2.BZ2File(raw))
    if packed == ".xz":
        return cast("IO[bytes]", lzma.LZMAFile(raw))
    if importlib.util.find_spec("pyarrow") is None:
        tool = "unzstd" if packed == ".zst" else "unlz4"
        raise UserError(f"{file}: pyarrow is not here to unpack it", f"unpack it: {tool} {file}")
    import io

    import pyarrow

    codec = "zstd" if packed == ".zst" else "lz4"
    return io.BufferedReader(pyarrow.CompressedInputStream(raw, codec))
