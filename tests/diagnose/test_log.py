"""Logs are read once, their lines numbered, and found again where they are long."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.log import END, read, tidy
from hpclaunch.diagnose.registry import PHRASES
from tests.diagnose import messages

STEP = b"3: [gpu1]:{'loss': 1.23, 'grad_norm': 0.44, 'learning_rate': 9.1e-05}\n"


def test_a_sign_far_up_is_found_and_its_line_numbered(tmp_path: Path) -> None:
    log = tmp_path / "log"
    many = STEP * (2**20 // len(STEP))
    killed = messages.OOM_KILL.encode()
    log.write_bytes(many * 2 + killed + many * 9 + b"srun: Job step aborted\n")
    found = read(log)
    assert len(found.text) <= END
    first = found.matches["host_oom"][0]
    assert first.line == many.count(b"\n") * 2 + 1
    assert log.read_text().splitlines()[first.line - 1] == first.text
    assert "host_oom" not in read(log, deep=False).matches


def test_lines_say_who_and_when(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"a\n2: [gpu1]:{messages.GPU_OOM}\n{messages.CANCELLED}")
    found = read(log)
    (clue,) = found.matches["gpu_oom"]
    assert (clue.node, clue.local_rank, clue.line) == (2, 1, 2)
    assert found.matches["cancelled"][0].time == "2026-11-21 03:36:44"


def test_no_sign_is_in_nothing() -> None:
    for name in PHRASES:
        assert not patterns.has(name, b"")
        least = 4 if PHRASES[name].confirmed else 6
        assert all(len(word) >= least for word in PHRASES[name].texts), name


def test_a_terminals_own_signs_are_left_out() -> None:
    assert tidy("\x1b[31mred\x1b[0m\x07\tend\r") == "red  end"


def test_no_log_and_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert read(None).last == read(tmp_path / "none").last == read(tmp_path / "log").last == ()
    assert read(tmp_path).matches == {}


WORDS = st.sampled_from([b"\n", b"0: ", b"Traceback (most recent call last):\n", b"XError: a\n",
                         *(value.encode() for value in vars(messages).values()
                           if isinstance(value, str))])  # fmt: skip


@given(st.lists(WORDS | st.binary(max_size=30), max_size=12).map(b"".join))
@settings(deadline=None)
def test_numbers_are_those_of_the_lines(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        log.write_bytes(text)
        lines = text.split(b"\n")
        for name, clues in read(log, end=64).matches.items():
            for clue in clues:
                assert clue.line is not None
                assert patterns.has(name, lines[clue.line - 1]), (name, clue)
