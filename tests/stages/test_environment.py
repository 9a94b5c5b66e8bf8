"""The environment of llm-compressor: made once, whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.compressor import environment_of, is_complete
from hpclaunch.stages import environment


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def without_pip(monkeypatch: pytest.MonkeyPatch, problem: str = "") -> list[list[str]]:
    """Let no package be installed; return the commands of pip that are asked for."""
    run, asked = environment._run, []

    def instead(command: list[str], what: str) -> str:
        if "pip" in command:
            asked.append(command)
            if problem:
                raise UserError(problem)
            return ""
        return run([*command, "--without-pip"] if "venv" in command else command, what)

    monkeypatch.setattr(environment, "_run", instead)
    return asked


def test_it_is_made_once_and_has_the_jobs_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    asked = without_pip(monkeypatch)
    prefix = Path(sys.prefix)
    made = environment.ensure_compressor(prefix, said.append)
    assert made == environment_of(prefix) and is_complete(made)
    assert environment.ensure_compressor(prefix, said.append) == made
    assert len(asked) == 1
    assert "once" in said[0] and said[-1].startswith("made in")
    found = environment._run([str(made / "bin/python"), "-c", "import click"], "made")
    assert found == "", "a package that only the job's environment has"


def test_one_that_could_not_be_filled_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    without_pip(monkeypatch, "no network")
    with pytest.raises(UserError, match="no network"):
        environment.ensure_compressor(Path(sys.prefix), lambda _: None)
    assert list((cache / "hpclaunch/environments").iterdir()) == []


def test_another_python_has_another_one(tmp_path: Path) -> None:
    assert environment_of(tmp_path / "a") != environment_of(tmp_path / "b")


def test_a_step_that_fails_is_one_line() -> None:
    code = "import sys; print('a\\nlast words', file=sys.stderr); sys.exit(3)"
    with pytest.raises(UserError, match="could not be filled: last words; run it where"):
        environment._run([sys.executable, "-c", code], "filled")
