"""Help that reads well: options in groups, examples, commands in sections, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

Example = tuple[str, str]
"""What a command line does, and the line itself."""

OWN_OPTIONS = "Options"
"""Group of the options that belong to one command alone."""


class Entry(NamedTuple):
    """A command of the command line before its module is imported."""

    module: str
    summary: str
    """The first line of its help; a test holds the two equal."""


class Option(click.Option):
    """An option that knows the group it is listed under, and names that it had before."""

    def __init__(
        self,
        *arguments: Any,
        group: str = OWN_OPTIONS,
        former_flags: tuple[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group
        self._former_flags = former_flags

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the former names be typed too; neither help nor completion shows them."""
        shown = self.opts, self.secondary_opts
        if self._former_flags:
            on, off = self._former_flags
            self.opts, self.secondary_opts = [*self.opts, on], [*self.secondary_opts, off]
        super().add_to_parser(parser, ctx)
        self.opts, self.secondary_opts = shown


class Command(click.Command):
    """A command whose help has its options in groups, and examples."""

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[Example] = (),
        takes_program: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)
        self._takes_program = takes_program

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the parts of the usage line, the user's own program among them."""
        program = ["[-- PROGRAM ...]"] if self._takes_program else []
        return [*super().collect_usage_pieces(ctx), *program]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section a group, those of this command alone last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", OWN_OPTIONS), []).append(row)
        own = groups.pop(OWN_OPTIONS, [])
        for title, rows in [*groups.items(), (OWN_OPTIONS, own)]:
            _write_section(formatter, title, rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed, never folded."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            for text, line in self.examples:
                formatter.write_text(f"{text}:")
                formatter.write(f"{'':>{formatter.current_indent + 2}}{line}\n")


class Group(click.Group):
    """Commands under one name, each listed with its whole first line."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in the order they were added."""
        _write_section(
            formatter,
            "Commands",
            [(name, command.get_short_help_str(1000)) for name, command in self.commands.items()],
        )


class CommandLine(Group):
    """The whole command line: sections of commands, each imported once it is needed."""

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Mapping[str, Entry]], **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.sections = sections
        self.entries = {name: entry for each in sections.values() for name, entry in each.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, as the help lists them."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, None where there is none."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(import_module(entry.module), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was typed. A name that is none ends with the nearest one."""
        known = not args or args[0] in self.entries or args[0].startswith("-")
        if known or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from hpclaunch.errors import nearest

        message = f"no command '{args[0]}'; {nearest(args[0], self.entries)}"
        raise click.UsageError(message, ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; no command is imported for it."""
        width = max(len(name) for name in self.entries)
        for title, entries in self.sections.items():
            rows = [(f"{name:<{width}}", entry.summary) for name, entry in entries.items()]
            _write_section(formatter, title, rows)


def _write_section(
    formatter: click.HelpFormatter, title: str, rows: Iterable[tuple[str, str]]
) -> None:
    found = list(rows)
    if found:
        with formatter.section(title):
            formatter.write_dl(found)
