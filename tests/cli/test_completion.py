"""What Tab completes: through click's own machinery, and once in a real bash."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from hpclaunch.cli.main import app
from hpclaunch.cli.main import run as run_line
from monitors.exports.export import FORMATS
from tests.cli.running import Home
from tests.run.making import run_in


@pytest.fixture(autouse=True)
def user(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A user with two runs in ./runs, working in their home."""
    for name, value in (("HOME", home.folder), ("HPCLAUNCH_RUNS_DIR", home.runs)):
        monkeypatch.setenv(name, str(value))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(home.folder)
    for name in ("first", "second"):
        run_in(home.runs / name, name=name)
    return home


def test_a_name_that_a_shell_would_run_is_not_offered(user: Home) -> None:
    for name in ("f;rm -rf x", "f$(id)", "f x", "-f", "f\ng"):
        run_in(user.runs / name, name="harmless")
    assert set(completed("status ")) == {"first", "second"}


def completed(line: str) -> list[str]:
    """What may follow a command line; the last word is being typed."""
    *before, last = line.split(" ")
    return [item.value for item in items(before, last)]


def items(before: list[str], last: str) -> list[CompletionItem]:
    shell = ShellComplete(app, {}, "hpclaunch", "_HPCLAUNCH_COMPLETE")
    return shell.get_completions(before, last)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", {"status"}),
        ("recipes c", {"cat", "cp"}),
        ("status ", {"first", "second"}),
        ("report se", {"second"}),
        ("resume f", {"first"}),
        ("sbatch ti", {"tiny"}),
        ("recipes cat llama3-70b-l", {"llama3-70b-lora"}),
        ("sbatch tiny --gpu a100", {"a100_40", "a100_80"}),
        ("plan --nodes 1..4 --gpu l40", {"l40s"}),
        ("sbatch --site basker", {"baskerville"}),
        ("export --to ", set(FORMATS)),
        ("sbatch --sharding h", {"hybrid"}),
        ("sbatch --activ", {"--activation-checkpointing"}),
        ("completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_names_are_completed(line: str, expected: set[str]) -> None:
    found = set(completed(line))
    assert expected <= found
    typed = line.rpartition(" ")[2]
    assert all(value.startswith(typed) for value in found)


def test_a_recipe_may_be_a_file() -> None:
    (item,) = items(["sbatch"], "./mi")
    assert item.type == "file"
    assert "tiny" not in completed("sbatch tiny "), "one recipe at a time"


def test_former_names_of_options_are_not_offered() -> None:
    assert not {"--checkpointing", "--no-checkpointing"} & set(completed("sbatch --"))


def test_what_cannot_be_read_offers_nothing(user: Home) -> None:
    (user.runs / "first/run.json").write_text("{")
    assert completed("status ") == ["second"]
    shutil.rmtree(user.runs)
    user.runs.write_text("no folder")
    assert completed("status ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_to_switch_it_on(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(["completion", shell]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("# To switch completion on, add this line to ~/.")
    assert f"hpclaunch completion {shell}" in second
    assert any("_HPCLAUNCH_COMPLETE" in line for line in rest)


def test_an_unknown_shell_is_one_line(home: Home) -> None:
    done = home.call("completion", "csh")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "bash" in done.err and "fish" in done.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_in_a_real_bash(user: Home, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "hpclaunch"
    program.write_text(f'#!/bin/sh\nexec {" ".join(user.argv())} "$@"\n')
    program.chmod(0o755)
    # As the Tab key does: bash fills these in, calls the function, and reads COMPREPLY.
    script = """
    eval "$(hpclaunch completion bash)"
    complete -p hpclaunch
    COMP_WORDS=(hpclaunch status s); COMP_CWORD=2
    _hpclaunch_completion hpclaunch
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    variables = user.environment | {"HPCLAUNCH_RUNS_DIR": str(user.runs)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=variables | {"PATH": f"{programs}:/usr/bin:/bin"},
        cwd=user.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    registered, *offered = done.stdout.splitlines()
    assert "_hpclaunch_completion" in registered
    assert offered == ["second"]
