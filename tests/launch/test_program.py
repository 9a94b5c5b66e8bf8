"""A program or an environment that the job could not start is refused beforehand."""

from __future__ import annotations

import sys
import time
import venv
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.program import ANSWER, check_packages, check_program, missing

PYTHON = Path(sys.prefix)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with programs in it."""
    (tmp_path / "train.py").touch()
    (tmp_path / "src/pack").mkdir(parents=True)
    (tmp_path / "src/eval.py").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("raise SystemExit('imported')")
    for name, mode in {"go.sh": 0o755, "plain.sh": 0o644}.items():
        (tmp_path / name).write_text("#!/bin/bash\n")
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("train.py",), ("./train.py", "x"), ("src/eval.py",), ("./go.sh",), ("bash", "plain.sh"),
        ("python", "train.py"), ("-m", "mine"), ("-m", "mine.deeper"), ("-m", "trl.cli"),
        ("{here}/train.py",), ("{here}/go.sh",),
    ],
)  # fmt: skip
def test_what_is_there_passes(here: Path, words: tuple[str, ...]) -> None:
    named = [word.format(here=here) for word in words]
    check_program(named, PYTHON, here, modules=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trian.py",), "did you mean 'train.py'?"),
        (("src/evil.py",), "did you mean 'eval.py'?"),
        (("src/pack/a.py",), "has no such files"),
        (("nowhere/a.py",), "there is no folder"),
        (("./go.s",), "no program ./go.s"),
        (("./plain.sh",), "chmod +x ./plain.sh"),
        (("./src",), "is a folder"),
        (("go.sh",), "-- ./go.sh"),
        (("plain.sh",), "-- bash plain.sh"),
        (("nothing-called-so",), "on PATH"),
        (("-m", "nomod.train"), "no module 'nomod'"),
    ],
)
def test_what_is_not_there_is_named_with_what_was_meant(
    here: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        check_program(words, PYTHON, here, modules=False)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_modules_may_bring_is_left_to_the_job(here: Path) -> None:
    check_program(("-m", "nomod"), PYTHON, here, modules=True)
    check_program(("nothing-called-so",), PYTHON, here, modules=True)
    with pytest.raises(UserError):
        check_program(("trian.py",), PYTHON, here, modules=True)


def test_an_environment_without_the_stack(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    assert missing(tmp_path / "bare", ["json", "torch", "nothing"], tmp_path) == [
        "torch",
        "nothing",
    ]
    with pytest.raises(UserError, match=r"lacks torch, trl; install hpclaunch\[train\] there"):
        check_packages(tmp_path / "bare", ("torch", "trl"), Path("/"))


@pytest.mark.parametrize("behaves", ["exec sleep 60", "exit 3", "echo torch; exit 1"])
def test_a_python_that_does_not_answer_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaves: str
) -> None:
    monkeypatch.setattr("hpclaunch.launch.program.ANSWER", 0.5)
    program = tmp_path / "bin/python"
    program.parent.mkdir()
    program.write_text(f"#!/bin/bash\n{behaves}\n")
    program.chmod(0o755)
    began = time.monotonic()
    assert missing(tmp_path, ["torch"], tmp_path) == []
    assert time.monotonic() - began < ANSWER / 2
    program.unlink()
    assert missing(tmp_path, ["torch"], tmp_path) == []
