"""A damaged events.jsonl is said; what can be read of it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.analysis.event_file import read_event_file
from monitors.report.build import render_html
from monitors.report.text import render_text
from tests.monitors import traces
from tests.monitors.generate import damaged

LINES = [json.dumps(event) for event in traces.events(200)]
WHOLE = "\n".join(LINES) + "\n"


def read(folder: Path, data: bytes) -> tuple[int, tuple[str, ...]]:
    path = folder / "events.jsonl"
    path.write_bytes(data)
    found = read_event_file(path)
    return len(found.events), found.problems


def test_a_whole_file_has_no_problem(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE.encode()) == (len(LINES), ())
    assert read(tmp_path, WHOLE.rstrip("\n").encode()) == (len(LINES), ())
    assert read_event_file(tmp_path / "none").events == ()


@pytest.mark.parametrize(
    "garbage", [b"\0" * 40, b'{"time": 1', b"[1, 2]", b"null", b"\xff\xfe\x00", b'{"time": 3.0}']
)
def test_lines_that_cannot_be_read_are_counted(tmp_path: Path, garbage: bytes) -> None:
    lines = [line.encode() for line in LINES]
    lines[4] = lines[7] = garbage
    number, (problem,) = read(tmp_path, b"\n".join(lines) + b"\n")
    assert number == len(LINES) - 2
    assert problem.startswith(
        f"events.jsonl is damaged: 2 of {len(LINES)} lines cannot be read, the first is line 5"
    )


def test_a_torn_last_line_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE.encode()[:-9])[1] == ("events.jsonl: the last line is cut off",)


def test_a_file_that_cannot_be_read_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    (problem,) = read_event_file(tmp_path / "events.jsonl").problems
    assert "cannot be read" in problem


def test_the_report_says_it_everywhere(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=1, gpus=1, seconds=200)
    (tmp_path / "events.jsonl").write_text(WHOLE.replace("{", "", 1))
    logged = read_event_file(tmp_path / "events.jsonl")
    context = JobContext(events=logged.events, problems=logged.problems)
    found = analyse_folder(tmp_path, context)
    assert "events.jsonl is damaged" in render_text(found.report).replace("\n", " ")
    assert "events.jsonl is damaged" in render_html(found)
    assert found.verdict == "Nothing stands out in what could be read."


@pytest.mark.parametrize(
    "wrong", [{"time": "yesterday"}, {"time": -5}, {"seconds": "long"}, {"seconds": -1}]
)
def test_events_with_values_that_cannot_be_are_counted(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    traces.record(tmp_path, nodes=1, gpus=0, seconds=20)
    events = traces.events(200)
    events[5] = {**events[5], **wrong}
    (problem,) = analyse_folder(tmp_path, JobContext(events=tuple(events))).report.problems
    assert problem.startswith("1 event has no time or duration that can be")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=damaged(WHOLE.encode()))
def test_whatever_is_damaged_it_is_read_or_said(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number, problems = read(tmp_path_factory.mktemp("e"), data)
    lines = [line for line in data.decode(errors="replace").split("\n") if line.strip()]
    assert number == len(lines) or problems
