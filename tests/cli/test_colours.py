"""Colours and folding: on terminals alone, and as the environment says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

import pytest

from hpclaunch.cli import terminal, text
from tests.cli.running import Home
from tests.watch.terminal import Terminal

RED, GREEN, YELLOW, OFF = "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
CODES = re.compile(r"\x1b\[[0-9;]*m")
SMALL = ["plan", "--nodes", "1", "--gpus", "1", "--gpu", "t4"]
COMPARED = ["plan", "llama3-8b-lora", "--nodes", "2", "--gpus", "4", "--gpu", "a100_40",
            "--network", "200gb", "--compare"]  # fmt: skip
RANGE = ["plan", "llama3-8b-lora", "--nodes", "1..8", "--gpus", "4", "--gpu", "a100_40",
         "--network", "200gb"]  # fmt: skip

Typed = Callable[..., str]


@pytest.fixture
def typed(home: Home) -> Iterator[Typed]:
    """Type a command on a terminal; returns all that it printed."""
    opened: list[Terminal] = []

    def run(*words: str, columns: int = 80, **variables: str) -> str:
        argv, environment = home.argv(*words), home.environment | variables
        opened.append(Terminal(argv, environment, home.folder, columns, 24))
        _, left = opened[-1].end()
        return left

    yield run
    for each in opened:
        each.close()


def test_what_does_not_fit_is_red_on_a_terminal_and_plain_in_a_pipe(
    home: Home, typed: Typed
) -> None:
    assert f"{RED}does not fit" in typed(*SMALL)
    assert "\x1b" not in typed(*SMALL, NO_COLOR="1")
    assert "\x1b" not in typed(*SMALL, TERM="dumb")
    assert "\x1b" not in home.call(*SMALL).out
    forced = Home(home.folder, {"CLICOLOR_FORCE": "1"})
    assert f"{RED}does not fit" in forced.call(*SMALL).out


def test_a_state_has_its_colour(home: Home, typed: Typed) -> None:
    assert home.call("sbatch", "tiny", "--no-submit", "--name", "one").code == 0
    (home.runs / "one/exit_code").write_text("0\n")
    assert f"{GREEN}done{OFF}" in typed("status", "one")
    (home.runs / "one/exit_code").write_text("1\n")
    assert f"{RED}failed" in typed("status", "one")
    assert f"{RED}" in typed("why", "one")


def test_an_error_is_red_and_one_line(home: Home, typed: Typed) -> None:
    assert typed("status", "nosuch").startswith(f"hpclaunch: {RED}no run called")
    done = home.call("status", "nosuch")
    assert (done.err.count("\n"), "\x1b" in done.err) == (1, False)


@pytest.mark.parametrize("words", [COMPARED, RANGE])
def test_tables_fold_at_80_columns(home: Home, typed: Typed, words: list[str]) -> None:
    shown = CODES.sub("", typed(*words, columns=80)).replace("\r", "").splitlines()
    # Commands stay whole: they are to be copied.
    folded = [line for line in shown if ": hpclaunch " not in line]
    assert max(map(len, folded)) <= 80, max(folded, key=len)
    if words is RANGE:  # a layout has a line of its own below its row
        assert any(re.fullmatch(r"    \S.*, batch \d+, accumulation \d+.*", each) for each in shown)
    piped = home.call(*words).out
    assert max(map(len, piped.splitlines())) > 80, "a pipe has no width"
    plain = re.sub(r"[\s#]+", "", "".join(shown))
    assert sorted(plain) == sorted(re.sub(r"[\s#]+", "", piped)), "nothing is lost"


def test_wide_terminals_are_used(typed: Typed) -> None:
    lines = CODES.sub("", typed(*RANGE, columns=140)).splitlines()
    assert any("####" in line for line in lines), "with bars"
    widths = [len(line) for line in lines if "hpclaunch sbatch" not in line]
    assert 80 < max(widths) <= 140, "but for a command, which stays in one piece"


def test_rows_fold_under_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "width", lambda: 40)
    path = "/a/long/path/that/is/to/be/copied/as/it/is/run.json"
    found = text.rows([("note", "one two three four five six seven"), ("folder", path)])
    assert found.splitlines() == [
        "note        one two three four five six",
        "            seven",
        f"folder      {path}",
    ]


def test_colours_do_not_change_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [("layout", "memory", "why"), ("one", "29.6 GiB", "a longer reason " * 4)]
    monkeypatch.setattr(text, "width", lambda: 50)
    plain = text.table(lines)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    painted = text.table(lines, ["", "bad"])
    assert painted != plain and CODES.sub("", painted) == plain
    assert max(map(len, plain.splitlines())) <= 50


def test_a_stream_that_is_closed_has_no_colour() -> None:
    stream = io.StringIO()
    stream.close()
    assert terminal.paint("text", "bad", stream) == "text"
