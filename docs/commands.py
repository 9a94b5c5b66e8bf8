"""The page on the command line, from click: sections, options in groups, examples."""

from __future__ import annotations

from collections.abc import Iterator

import click
from schemas import GENERATED, one_line


def commands_page() -> str:
    """Return the page on the command line."""
    from hpclaunch.cli.main import app

    context = click.Context(app, info_name="hpclaunch")
    parts = [
        GENERATED.format("the command line") + "\n# Command line\n",
        "`RUN` is a run's name, its folder or a job id. Where it is left out, the newest run is "
        "taken, but not by `cancel`. Results go to stdout, messages to stderr. Exit codes: 0 "
        "done, 2 an invalid request (one line with the fix), 1 failed.",
    ]
    for title, entries in app.sections.items():
        parts.append(f"\n## {title}")
        for name in entries:
            command = app.get_command(context, name)
            if command is not None:
                parts += command_parts(command, click.Context(command, context, name))
    return "\n".join(parts) + "\n"


def command_parts(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a command's section, and those of its own commands."""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n### `{context.command_path}`\n\n```text\n{context.command_path} {usage}\n```\n"
    for paragraph in (command.help or "").strip().split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```text\n" + paragraph.lstrip("\b\n") + "\n```\n"
        else:
            yield one_line(paragraph).replace("<", "&lt;") + "\n"
    examples = getattr(command, "examples", ())
    if examples:
        lines = "\n".join(f"# {text}\n{line}" for text, line in examples)
        yield f"```sh\n{lines}\n```"
    yield from option_tables(command, context)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from command_parts(below, click.Context(below, context, name))


def option_tables(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a table for each group of options, that of the command's own last, as the help has."""
    groups: dict[str, list[str]] = {}
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is None or not isinstance(option, click.Option) or "--help" in option.opts:
            continue
        row = f"| `{one_line(record[0])}` | {one_line(record[1])} |"
        groups.setdefault(getattr(option, "group", "Options"), []).append(row)
    own = groups.pop("Options", [])
    for title, rows in [*groups.items(), ("Options", own)]:
        if rows:
            yield f"\n| {title} | |\n|---|---|\n" + "\n".join(rows)
