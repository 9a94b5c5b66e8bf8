"""Local data at the door: what nobody could train on is named with file and line."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Data, Model, Recipe

PAIR = {"prompt": "What is 1 and 1?", "completion": "2"}


def check(
    path: Path, wanted: Any = "auto", rows: int | None = None, **options: Any
) -> tuple[str, ...]:
    data = Data(name=str(path), format=wanted, limit=rows)
    return check_data(Recipe(name="x", model=Model(name="m"), data=data), **options)


def jsonl(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_good_files_pass(tmp_path: Path) -> None:
    check(jsonl(tmp_path, PAIR, PAIR), "auto")
    check(jsonl(tmp_path, {"text": "a"}, name="b.jsonl"), "text")
    (tmp_path / "c.csv").write_text("instruction,input,output\na,,b\n")
    check(tmp_path / "c.csv", "auto")
    (tmp_path / "e.json").write_text(json.dumps([PAIR, PAIR], indent=1))
    check(tmp_path / "e.json", "auto")
    (tmp_path / "blank.jsonl").write_text(f"\n{json.dumps(PAIR)}\n\n")
    check(tmp_path / "blank.jsonl", "auto")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"question,answer\na,b\n", "rows.csv:1 has the columns answer, question"),
        (b"prompt;completion\na;b\n", "rows.csv:1: the only column is 'prompt;completion'"),
        (b"prompt,completion\n", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"prompt,completion\na,b\n\nc,\n", "rows.csv:4: 'completion' is empty"),
        (b"prompt,completion\na,b, and c\n", "rows.csv:2: 3 cells under 2 columns"),
        (b'prompt,completion\n"a\nb",c\nd,\n', "rows.csv:4: 'completion' is empty"),
        (b"prompt,completion\na,caf\xe9\n", "rows.csv:2: not UTF-8: byte 0xe9"),
        ("prompt,completion\na,b\n".encode("utf-16"), "iconv -f utf-16 -t utf-8"),
        (b"prompt,prompt\na,b\n", "rows.csv:1: the column 'prompt' stands twice"),
        (b'prompt,completion\na,"b\n', "rows.csv:2: unexpected end of data"),
        (b"prompt,completion\na,b\x00\n", "rows.csv:2: holds a NUL byte at column 4"),
        (b"prompt,completion\na\n", "rows.csv:2: 'completion' is empty"),
    ],
)
def test_a_table_that_nobody_could_train_on(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    with pytest.raises(UserError) as told:
        check(file, "auto")
    assert said in str(told.value)


def test_tables_that_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    for content in (
        "\ufeffprompt,completion\r\na,b\r\n",
        'prompt,completion\n"a, b\nand c","d ""e"""\n',
        "id,text\n1,a\n2,b\n",
        'text\n"' + "x" * 200_000 + '"\n',
    ):
        file.write_bytes(content.encode())
        check(file, "auto")
    file.write_text("prompt,completion\na,b\nc,\n")
    check(file, "auto", rows=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "has no rows"),
        (b'{"text": "a"}\n{"text": "b"\n', ":2: not valid JSON"),
        (b'{"text": "a"}\n{"text": "caf\xe9"}\n', ":2: not UTF-8: byte 0xe9 at column 14"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", "is a web page"),
        (b'{"text": "a"}\n\xef\xbb\xbf{"text": "a"}\n', ":2: begins with a byte order mark"),
        (b'["text"]\n', ":1: a row must be a JSON object"),
        (b'{"q": 1, "a": 2}\n', "has the columns a, q"),
        (b'{"text": "a"}\n{"prompt": "q", "completion": "a"}\n', ":2: the row has no 'text'"),
        (b'{"prompt": "q", "completion": ""}\n', ":1: 'completion' is empty"),
        (b'{"text": "a"}\n' + b"[" * 5000 + b"\n", ":2: "),
        (b'{"text": ' + b"1" * 6000 + b"}\n", ":1: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        check(file, "auto")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_files_that_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(UserError, match="not a data file; write JSON lines"):
        check(tmp_path / "notes.txt", "auto")
    with pytest.raises(UserError, match="no data files there"):
        check(tmp_path, "auto")
    (tmp_path / "x.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no parquet file"):
        check(tmp_path / "x.parquet", "auto")
    (tmp_path / "y.jsonl").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(UserError, match=r"is a gzip file .*; rename it to y\.jsonl\.gz"):
        check(tmp_path / "y.jsonl", "auto")
    (tmp_path / "y.jsonl").unlink()
    jsonl(tmp_path, PAIR)
    with pytest.raises(UserError, match=r"mixes json \(rows.jsonl\) and parquet \(x.parquet\)"):
        check(tmp_path, "auto")


def test_only_rows_that_are_used_must_be_good(tmp_path: Path) -> None:
    file = jsonl(tmp_path, PAIR, PAIR, {"prompt": "q", "completion": ""})
    check_data(load("tiny", (f"data.name={file}", "data.validation_split=null", "data.limit=2")))
    check_data(
        load("tiny", (f"data.name={file}", "data.validation_split=null", "data.split=train[:2]"))
    )
    with pytest.raises(UserError, match=r"rows\.jsonl:3"):
        check_data(load("tiny", (f"data.name={file}", "data.validation_split=null")))


def test_a_large_file_is_looked_at_from_both_ends_within_the_time(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    line = json.dumps({"text": "word " * 200}) + "\n"
    file.write_text(line * 5_000)
    assert check(file) == ()
    (message,) = check(file, seconds=0)
    assert re.search(r"looked at .* of 5.1 MB \(32 rows\) within 0 s; the job checks all", message)
    with file.open("ab") as stream:
        stream.write(b'{"text": "cut sho')
    with pytest.raises(UserError, match="last line: not valid JSON"):
        check(file, seconds=0)
    with pytest.raises(UserError, match=":5001: not valid JSON"):
        check(file)


def test_every_file_is_looked_at_when_time_is_short(tmp_path: Path) -> None:
    for name in ("a", "b"):
        jsonl(tmp_path, *[{"text": "words"}] * 100, name=f"{name}.jsonl")
    jsonl(tmp_path, {"text": "words"}, {"text": ""}, name="c.jsonl")
    with pytest.raises(UserError, match=r"c\.jsonl:2: 'text' is empty"):
        check(tmp_path, seconds=0)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_pass_or_are_refused_in_a_line(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(content)
        for suffix in ("jsonl", "json", "csv", "jsonl.gz", "parquet"):
            file = file.replace(Path(folder) / f"rows.{suffix}")
            try:
                check(file, "auto")
            except UserError as error:
                assert str(error).isprintable()


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from(['{"text": "a"}', "{}", "[1]", "null"]))))
def test_any_lines_pass_or_are_refused_in_a_line(lines: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            check(file, "auto")
        except UserError as error:
            assert str(error).isprintable()


def test_a_file_here_is_a_file_and_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("a")
    changed = {"data.validation_split": None}
    assert load("tiny", (), {**changed, "data.name": "notes.txt"}).data.name == str(
        tmp_path / "notes.txt"
    )
    assert load("tiny", (), {**changed, "data.name": "."}).data.name == str(tmp_path)
    assert load("tiny", (), {**changed, "data.name": "org/name.v1"}).data.name == "org/name.v1"
