from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Home
from tests.watch.alive import Alive
from tests.watch.terminal import Terminal

Open = Callable[..., Terminal]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@pytest.fixture
def make(home: Home) -> Callable[..., Alive]:
    """Make a run in this home."""

    def made(name: str = "one", **how: Any) -> Alive:
        return Alive(home.runs / name, **how)

    return made


@pytest.fixture
def watch(home: Home) -> Iterator[Open]:
    """Open `hpclaunch watch` on a terminal of its own."""
    opened: list[Terminal] = []

    def start(*words: str, columns: int = 80, lines: int = 24, **variables: str) -> Terminal:
        argv = home.argv("watch", *words)
        opened.append(Terminal(argv, home.environment | variables, home.folder, columns, lines))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()
