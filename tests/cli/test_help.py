"""Help of every command: groups, examples that can be typed, nothing cut off at 80 columns."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import click
import pytest

from hpclaunch.cli import invocation
from hpclaunch.cli.help import Command, CommandLine
from hpclaunch.cli.main import SECTIONS, app

COLUMNS = 80


def all_commands() -> list[tuple[str, click.Command]]:
    """Every command with what to type for it, those of a group among them."""
    assert isinstance(app, CommandLine)
    found: list[tuple[str, click.Command]] = []
    context = click.Context(app)
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {each}", sub) for each, sub in command.commands.items()]
    return found


COMMANDS = all_commands()


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line prints, on a terminal of 80 columns."""
    from hpclaunch.cli.main import run

    assert run(words.split()) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


@pytest.mark.parametrize("name", ["", *(name for name, _ in COMMANDS)])
def test_help_fits_and_h_is_the_same(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(f"{name} --help", capsys)
    assert text == help_of(f"{name} -h", capsys)
    assert max(map(len, text.splitlines())) <= COLUMNS
    repeated = re.compile(r"\[KEY=VALUE \.\.\.\]|\[-- PROGRAM \.\.\.\]|\[ARGS\]\.\.\.")
    assert "..." not in repeated.sub("", text), "something was cut off"


@pytest.mark.parametrize(
    ("name", "command"), [each for each in COMMANDS if not isinstance(each[1], click.Group)]
)
def test_examples_can_be_typed(name: str, command: click.Command) -> None:
    assert isinstance(command, Command)
    assert len(command.examples) >= 2
    shown = 0
    for text, line in command.examples:
        assert text
        words = shlex.split(line.partition(" > ")[0].partition(" | ")[0].removeprefix("srun "))
        if words[0] != "hpclaunch":  # a shell's own command around it
            continue
        typed = invocation.split(words[1:])
        arguments = list(typed.arguments)
        own = name.split()
        assert arguments[: len(own)] == own, "an example of another command"
        # Raises for an option or a value that the command does not have.
        command.make_context(name, arguments[len(own) :], obj=typed).close()
        shown += 1
    assert shown or name == "completion"


def test_the_summaries_are_the_commands_own() -> None:
    """The list of commands is printed without importing them."""
    entries = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
    for name, entry in entries.items():
        command = getattr(import_module(entry.module), name)
        assert command.get_short_help_str(1000) == entry.summary
        assert command.name == name


def test_options_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("sbatch --help", capsys)
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [
        "Recipe:", "Sharding and batch:", "Nodes:", "Slurm:", "Run:", "Options:", "Examples:"
    ]  # fmt: skip
    section = text[text.index("\nSlurm:") : text.index("\nRun:")]
    assert "--account" in section and "--time" in section and "--gpus" not in section


def test_commands_are_in_sections(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("--help", capsys)
    places = [text.index(f"\n{title}:") for title in SECTIONS]
    assert places == sorted(places)
    before, after = text.split("\nWhile it runs, and after a failure:")
    assert "  plan " in before and "  why " not in before
    assert "  why " in after and "  plan " not in after


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--activation-checkpointing", True),
        ("--no-activation-checkpointing", False),
        ("--checkpointing", True),
        ("--no-checkpointing", False),
    ],
)
def test_the_former_name_of_activation_checkpointing_still_works(flag: str, value: bool) -> None:
    command = dict(COMMANDS)["config"]
    context = command.make_context("config", ["tiny", flag])
    assert context.params["activation_checkpointing"] is value


def test_the_former_name_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("config --help", capsys)
    assert "--activation-checkpointing / --no-activation-checkpointing" in text
    assert " --checkpointing" not in text and " --no-checkpointing" not in text
