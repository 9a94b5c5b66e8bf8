"""JSON files of any layout: each row with its line, or what is wrong with it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpclaunch.dataset import json_rows as json_module
from hpclaunch.dataset import rows as rows_module
from hpclaunch.dataset.read import read_rows
from hpclaunch.errors import UserError

ROWS = [{"text": "a, [b] {c}"}, {"text": 'with "quotes" and \\'}, {"text": "ünï 🙂", "n": 1}]


def read(folder: Path, content: bytes | str, name: str = "x.json") -> list[tuple[int, Any]]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row.number, row.values) for row in read_rows(file, "json")]


def fault(folder: Path, content: bytes | str, name: str = "x.json") -> str:
    with pytest.raises(UserError) as caught:
        read(folder, content, name)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(str(folder))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (json.dumps(ROWS), [1, 1, 1]),
        (json.dumps(ROWS, indent=2), [2, 5, 8]),
        ("\n \n" + json.dumps(ROWS) + "\n\n", [3, 3, 3]),
        ("[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n", [2, 3, 4]),
        ("\n".join(map(json.dumps, ROWS)), [1, 2, 3]),
        ("\n\n".join(map(json.dumps, ROWS)) + "\n\n", [1, 3, 5]),
        ("\r\n".join(map(json.dumps, ROWS)), [1, 2, 3]),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS), [1, 4, 7]),
        (" ".join(map(json.dumps, ROWS)), [1, 1, 1]),
        ("\ufeff" + json.dumps(ROWS), [1, 1, 1]),
        ("\ufeff" + "\n".join(map(json.dumps, ROWS)), [1, 2, 3]),
    ],
)
def test_every_layout_has_the_same_rows(tmp_path: Path, content: str, lines: list[int]) -> None:
    found = read(tmp_path, content)
    assert [values for _, values in found] == ROWS
    assert [number for number, _ in found] == lines


@pytest.mark.parametrize(
    ("pack", "suffix"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")]
)
def test_compressed_files(tmp_path: Path, pack: Callable[[bytes], bytes], suffix: str) -> None:
    content = "\n".join(map(json.dumps, ROWS * 500)).encode()
    found = read(tmp_path, pack(content), f"x.jsonl.{suffix}")
    assert [values for _, values in found] == ROWS * 500
    message = fault(tmp_path, pack(content)[:-20], f"x.jsonl.{suffix}")
    assert message.startswith(f"/x.jsonl.{suffix} is damaged or cut short")
    assert "damaged" in fault(tmp_path, content, f"x.jsonl.{suffix}")


def test_zstandard_files(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="unpacks zstandard")
    content = "\n".join(map(json.dumps, ROWS)).encode()
    packed = pyarrow.compress(content, codec="zstd", asbytes=True)
    assert [values for _, values in read(tmp_path, packed, "x.jsonl.zst")] == ROWS
    assert "damaged" in fault(tmp_path, content, "x.jsonl.zst")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a \\ud83d b"}\n', ":1: 'text' holds half of a surrogate pair"),
        (b'[{"text": "a"},\n{"text": {"b": ["\\uDE00"]}}]', ":2: 'text' holds half of a"),
        (b'{"a\\udc00": 1}\n', ":1: 'a\\udc00' holds half of a surrogate"),
        (b'{"text": "\xed\xa0\xbd"}\n', ":1: not UTF-8: byte 0xed"),
        (b'{"text": "a"}\n{"text": "b", "text": "c"}\n', ":2: the key 'text' stands twice"),
        (b'{"m": [{"role": "a", "role": "b"}]}\n', ":1: the key 'role' stands twice"),
        (b'{"text": "a"}\n{"text": "b\x00"}\n', ":2: holds a NUL byte at column 12"),
        (b'{"text": "a"}\n' + bytes(100) + b"\n", ":2: holds a NUL byte at column 1"),
        (b'[{"text": "a"},\n {"text": "b"}\n', ":2: the file ends after this row, within its list"),
        (b'[{"text": "a"},\n {"text": "b"},\n]', ":3: a row must be a JSON object"),
        (b'[{"text": "a"}\n {"text": "b"}]', ":2: a comma is missing"),
        (b'[{"text": "a"}]\n[{"text": "b"}]', ":2: more follows after the end of the list"),
        (b'[\n{"text": "a"},\n{"text": \n}]', ":4: not valid JSON"),
        (b'[\n{"text": "a"},\n{"text": "b', ":3: not valid JSON: Unterminated string"),
        (b'["a", "b"]', ":1: a row must be a JSON object"),
        (b"[[1]]", ":1: a row must be a JSON object"),
        (b"17\n", ":1: a row must be a JSON object"),
        (b"[]", " has no rows"),
        (b" [ ] ", " has no rows"),
        (b" \n\n", " has no rows"),
        (b"", " is empty"),
        (b"\xff\xfe[\x00{\x00", ":1: not UTF-8: byte 0xff at column 1; convert the file: iconv"),
        (b'[{"text":\n"caf\xe9"}]', ":2: not UTF-8: byte 0xe9 at column 5"),
    ],
)
def test_what_is_no_row_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in fault(tmp_path, content)
    assert said.partition(":")[2] != "" or said.startswith(" ")


def test_lines_are_not_joined_in_files_of_lines(tmp_path: Path) -> None:
    content = '{"text": "a"}\n{"text":\n"b"}\n'
    assert ":2: not valid JSON" in fault(tmp_path, content, "x.jsonl")
    assert ":1: not valid JSON" in fault(tmp_path, json.dumps(ROWS[0], indent=1), "x.jsonl")
    assert ":2: not valid JSON: Extra data" in fault(
        tmp_path, '{"text": "a"}\n{"text": "b"} {"text": "c"}\n', "x.jsonl"
    )
    assert len(read(tmp_path, json.dumps(ROWS, indent=1), "x.jsonl")) == 3


def test_a_large_list_is_read_as_it_comes(tmp_path: Path) -> None:
    rows = [{"text": "word " * 4_000, "n": number} for number in range(300)]
    found = read(tmp_path, json.dumps(rows, indent=1))
    assert [values["n"] for _, values in found] == list(range(300))
    assert [number for number, _ in found] == list(range(2, 2 + 4 * 300, 4))


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_a_list_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(rows_module, "PIECE_BYTES", piece)
    content = json.dumps(ROWS, indent=2, ensure_ascii=False)
    assert [number for number, _ in read(tmp_path, content)] == [2, 5, 8]
    assert [values for _, values in read(tmp_path, "\ufeff" + content)] == ROWS
    broken = '[{"t":\n"ü🙂'.encode() + b'\xe9"}]'
    assert ":2: not UTF-8: byte 0xe9 at column 8" in fault(tmp_path, broken)
    assert ":1: not UTF-8: byte 0xc3 at column 6" in fault(tmp_path, b'[{"t"\xc3')


def test_a_row_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rows_module, json_module):
        monkeypatch.setattr(module, "MOST_BYTES", 1_000)
    monkeypatch.setattr(rows_module, "PIECE_BYTES", 100)
    long = json.dumps({"text": "x" * 5_000})
    assert ":2: the line has more than 0.0 MB" in fault(tmp_path, f"{{}}\n{long}", "x.jsonl")
    assert ":2: no row ends within 0.0 MB" in fault(tmp_path, f"[{{}},\n{long}]")
    broken = '[{"text": "a"},\n{"text" "b"},\n' + '{"text": "c"},' * 500
    assert ":2: not valid JSON: Expecting ':' delimiter at column 9" in fault(tmp_path, broken)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES), min_size=1),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_any_rows_come_back(rows: list[Any], indent: int | None, in_ascii: bool) -> None:
    import tempfile

    def written(value: Any) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=in_ascii)

    with tempfile.TemporaryDirectory() as folder:
        for content in (written(rows), "\n".join(map(written, rows))):
            assert [values for _, values in read(Path(folder), content)] == rows
