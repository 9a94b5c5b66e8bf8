"""Local data at the door: what nobody could train on is named with file and line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import check_data, load
from hpclaunch.recipe.rows import GLANCE, check_lines, glance

PAIR = {"prompt": "What is 1 and 1?", "completion": "2"}


def jsonl(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_good_files_pass(tmp_path: Path) -> None:
    glance(jsonl(tmp_path, PAIR, PAIR), "auto")
    glance(jsonl(tmp_path, {"text": "a"}, name="b.jsonl"), "text")
    (tmp_path / "c.csv").write_text("instruction,input,output\na,,b\n")
    glance(tmp_path / "c.csv", "auto")
    (tmp_path / "d.parquet").write_bytes(b"PAR1....PAR1")
    glance(tmp_path / "d.parquet", "auto")
    (tmp_path / "e.json").write_text(json.dumps({"data": [PAIR]}, indent=1))
    glance(tmp_path / "e.json", "auto")
    (tmp_path / "blank.jsonl").write_text(f"\n{json.dumps(PAIR)}\n\n")
    glance(tmp_path / "blank.jsonl", "auto")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"question,answer\na,b\n", "rows.csv:1 has the columns answer, question"),
        (b"prompt;completion\na;b\n", "rows.csv:1 has the columns prompt;completion"),
        (b"prompt,completion\n", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"prompt,completion\na,b\n\nc,\n", "rows.csv:4: 'completion' is empty"),
        (b"prompt,completion\na,b, and c\n", "rows.csv:2: 3 cells under 2 columns"),
        (b'prompt,completion\n"a\nb",c\nd,\n', "rows.csv:4: 'completion' is empty"),
        (b"prompt,completion\na,caf\xe9\n", "rows.csv:2: not UTF-8: byte 0xe9"),
        ("prompt,completion\na,b\n".encode("utf-16"), "iconv -f utf-16 -t utf-8"),
        (b'text\n"' + b"x" * 200_000 + b'"\n', "field larger than field limit"),
    ],
)
def test_a_table_that_nobody_could_train_on(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    with pytest.raises(UserError) as told:
        glance(file, "auto")
    assert said in str(told.value)


def test_tables_that_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    for content in (
        "\ufeffprompt,completion\r\na,b\r\n",
        'prompt,completion\n"a, b\nand c","d ""e"""\n',
        "id,text\n1,a\n2,b\n",
    ):
        file.write_bytes(content.encode())
        glance(file, "auto")
    file.write_text("text\na\n\nb\n" + "long\n" * (GLANCE // 5) + '"cut')
    glance(file, "auto")
    file.write_text("prompt,completion\na,b\nc,\n")
    glance(file, "auto", rows=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "has no rows"),
        (b'{"text": "a"}\n{"text": "b"\n', ":2: not valid JSON"),
        (b'{"text": "a"}\n{"text": "caf\xe9"}\n', ":2: not UTF-8: byte 0xe9 at column 14"),
        (b'\xef\xbb\xbf{"text": "a"}\n', ":1: begins with a byte order mark"),
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
        glance(file, "auto")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_files_that_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(UserError, match=r"not a data file; valid: \.jsonl, \.json, \.csv"):
        glance(tmp_path / "notes.txt", "auto")
    with pytest.raises(UserError, match="no data files there"):
        glance(tmp_path, "auto")
    (tmp_path / "x.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no parquet file"):
        glance(tmp_path / "x.parquet", "auto")
    jsonl(tmp_path, PAIR)
    with pytest.raises(UserError, match="mixes json and parquet"):
        glance(tmp_path, "auto")


def test_only_rows_that_are_used_must_be_good(tmp_path: Path) -> None:
    file = jsonl(tmp_path, PAIR, PAIR, {"prompt": "q", "completion": ""})
    check_data(load("tiny", (f"data.name={file}", "data.validation_split=null", "data.limit=2")))
    check_data(
        load("tiny", (f"data.name={file}", "data.validation_split=null", "data.split=train[:2]"))
    )
    with pytest.raises(UserError, match=r"rows\.jsonl:3"):
        check_data(load("tiny", (f"data.name={file}", "data.validation_split=null")))


def test_a_file_of_any_size_is_looked_at_quickly_from_both_ends(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    line = json.dumps({"text": "word " * 200}).encode() + b"\n"
    with file.open("wb") as stream:
        for _ in range(20):
            stream.write(line * (GLANCE // 4 // len(line)))
    began = time.monotonic()
    glance(file, "auto")
    assert time.monotonic() - began < 5, "a fifth of the file, not all of it"
    with file.open("ab") as stream:
        stream.write(b'{"text": "cut sho')
    with pytest.raises(UserError, match="last line: not valid JSON"):
        glance(file, "auto")


@given(st.binary(max_size=400))
def test_any_bytes_pass_or_are_refused_in_a_line(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(content)
        for whole in (False, True):
            try:
                if whole:
                    check_lines(file)
                else:
                    glance(file, "auto")
            except UserError as error:
                assert str(error).isprintable()


@given(st.lists(st.one_of(st.text(), st.sampled_from(['{"text": "a"}', "{}", "[1]", "null"]))))
def test_any_lines_pass_or_are_refused_in_a_line(lines: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            glance(file, "auto")
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
