"""Compiled templates: taken when whole, made anew when not, done without where none can lie."""

from __future__ import annotations

import sys
from pathlib import Path

import jinja2
import pytest

from hpclaunch.render.compiled import Compiled


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def rendered(folder: Path, text: str = "{{ a }} and {{ b }}") -> str:
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.DictLoader({"t": text}), bytecode_cache=Compiled(folder)
    )
    return environment.get_template("t").render(a=1, b=2)


def test_what_was_kept_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept"
    assert rendered(folder) == "1 and 2"
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(jinja2.Environment, "_generate", None)  # nothing can be compiled any more
    assert rendered(folder) == "1 and 2"


def test_another_text_is_compiled_anew(tmp_path: Path) -> None:
    assert rendered(tmp_path) == "1 and 2"
    assert rendered(tmp_path, "{{ b }}") == "2"


@pytest.mark.parametrize("left", [0, 5, 20, 40, 80, 200])
def test_a_damaged_file_is_passed_over(tmp_path: Path, left: int) -> None:
    rendered(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    assert len(whole) > 200
    for tail in (b"", b"\0" * 300):
        file.write_bytes(whole[:left] + tail)
        assert rendered(tmp_path) == "1 and 2"


def test_where_none_can_lie_it_does_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert rendered(tmp_path / "file") == "1 and 2"
    assert rendered(tmp_path / "no" / "such") == "1 and 2"


def test_python_that_keeps_none_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(tmp_path) == "1 and 2"
    assert not list(tmp_path.iterdir())
