"""What comes from files reaches the terminal as text."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.cli.terminal import _CODES, paint
from hpclaunch.cli.visible import erase_line, visible, visible_streams
from tests.cli.running import Home
from tests.watch.alive import Alive

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
OWN = [f"\x1b[{code}m" for code in (*_CODES.values(), "0")]
"""Colours of ours, which a file may hold, too."""


@given(st.one_of(st.text(), st.sampled_from([*OWN, "\r\x1b[Kx"])))
def test_nothing_but_tab_and_line_break_is_left(text: str) -> None:
    shown = visible(text)
    assert all(c.isprintable() or c in "\t\n" or ord(c) >= 0xA0 for c in shown)
    shown.encode()  # no lone surrogate either


def test_own_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with visible_streams("status"):
        print(erase_line(sys.stdout) + paint(f"a\t{OWN[0]}{CLIPBOARD}", "good"))
    assert terminal.getvalue() == (
        "\r\x1b[K\x1b[32ma\t\\x1b[1;31m\\x1b]52;c;ZXZpbA==\\x07\x1b[0m\n"
    )


@pytest.mark.parametrize("command", ["logs", "status", "why", "report", "ls", "watch --once"])
def test_no_escape_of_a_run_folder_reaches_the_terminal(home: Home, command: str) -> None:
    run = Alive(home.runs / "one")
    run.begin(seconds=3)
    folder = home.runs / "one"
    record = json.loads((folder / "run.json").read_text())
    record["command"] = [f"hpclaunch{CLIPBOARD}"]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "logs").mkdir(exist_ok=True)
    for log in [*(folder / "logs").glob("job-*.out"), folder / "logs" / "job-local.out"]:
        log.write_text(f"0: [gpu0]: text{CLIPBOARD}\n{CLIPBOARD}\n\x9b2J\x1b[2J\n")
    with (folder / "events.jsonl").open("a") as events:
        event = {"time": 1.0, "event": "synced", "name": "x", "url": f"s3://b/{CLIPBOARD}"}
        events.write(json.dumps(event) + "\n")
    done = home.call(*command.split(), *(["one"] if command != "ls" else []))
    for text in (done.out, done.err):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\x9b" not in text
    if command == "logs":
        assert "\\x1b]52;c;" in done.out
