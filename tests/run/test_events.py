"""Marks: what was written whole is read, whatever happened to the rest."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpclaunch.run.events import log_event, newest, read_events

FAST = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FIELDS = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in {"time", "event"}),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    max_size=4,
)
MARKS = st.lists(st.tuples(st.text(), FIELDS), max_size=6)


@given(marks=MARKS)
@FAST
def test_marks_are_read_in_order(
    marks: list[tuple[str, dict[str, object]]], tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    for event, fields in marks:
        log_event(path, event, **fields)
    read = read_events(path)
    assert [(m["event"], {k: v for k, v in m.items() if k not in {"event", "time"}})
            for m in read] == marks  # fmt: skip
    assert all(1.6e9 < m["time"] < 1e11 for m in read)


@given(torn=st.integers(1, 40))
@FAST
def test_a_torn_line_costs_no_other(torn: int, tmp_path: Path) -> None:
    """A writer dies in mid-line; what it wrote before counts, and what comes after it too."""
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    for step in range(3):
        log_event(path, "step", step=step)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - torn)
    whole = 3 if torn == 1 else 2  # only the line break is gone
    assert [m["step"] for m in read_events(path)] == [0, 1, 2][:whole]
    log_event(path, "start", world=8)
    assert [m["event"] for m in read_events(path)] == ["step"] * whole + ["start"]


@given(junk=st.binary(max_size=200))
@example(junk=b"[" * 50_000)
@example(junk=b'\xff\n{}\n[1]\n3\nnull\n{"event": 3}\n')
@example(junk=b"1" * 5000)
@FAST
def test_junk_costs_no_mark(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(junk)
    log_event(path, "end", outcome="done")
    assert read_events(path)[-1]["outcome"] == "done"


def test_each_mark_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log_event(path, "a", text="x\ny\u2028z")
    log_event(path, "b")
    lines = path.read_text().split("\n")
    assert [json.loads(line)["event"] for line in lines[:2]] == ["a", "b"]
    assert lines[2:] == [""]


def test_no_file_no_marks(tmp_path: Path) -> None:
    assert read_events(tmp_path / "nothing") == []
    assert read_events(tmp_path) == []


@pytest.mark.parametrize(("event", "step"), [("step", 3), ("checkpoint", 2), ("end", None)])
def test_the_newest_of_a_kind(tmp_path: Path, event: str, step: int | None) -> None:
    path = tmp_path / "events.jsonl"
    for kind, number in (("step", 1), ("step", 2), ("checkpoint", 2), ("step", 3)):
        log_event(path, kind, step=number)
    found = newest(read_events(path), event)
    assert (found["step"] if found else None) == step
