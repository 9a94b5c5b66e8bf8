"""What a shell's Tab key offers for the values of arguments and options.

Whatever is wrong, the answer is nothing to offer: a shell shows no errors while it completes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MOST_RUNS = 200
"""Runs of the user's list that are offered, the last that were started."""


def _completer(values: Callable[[], Iterable[tuple[str, str]]]) -> Complete:
    """Return a completer over values, each with a short description or ''."""

    @functools.wraps(values)
    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            return [
                CompletionItem(value, help=text or None)
                for value, text in values()
                if value.startswith(incomplete)
            ]
        except Exception:
            return []

    return complete


@_completer
def runs() -> Iterable[tuple[str, str]]:
    """Return the names of runs, the newest first, with their recipe."""
    from hpclaunch.run.find import default_runs_dir, known

    found = sorted(known(default_runs_dir(), MOST_RUNS), key=lambda run: run[1].created)
    # A shell puts a name into the command line as it is: no folder of another's brings a command.
    return {
        record.name: record.stage or record.recipe or ""
        for _, record in reversed(found)
        if _PLAIN.fullmatch(record.name)
    }.items()


@_completer
def gpu_types() -> Iterable[tuple[str, str]]:
    """Return the GPU types of the catalogue, with their names."""
    from hpclaunch.site.load import gpus

    return [(gpu_type, gpu.name) for gpu_type, gpu in gpus().items()]


@_completer
def sites() -> Iterable[tuple[str, str]]:
    """Return the names of the site profiles."""
    from hpclaunch.site.load import site_names

    return [(name, "") for name in site_names()]


@_completer
def ready_recipes() -> Iterable[tuple[str, str]]:
    """Return the names of the recipes that come with the package."""
    from hpclaunch.recipe import library

    return [(name, "") for name in library.names()]


def recipes(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return ready recipes, and files where a path is typed or no recipe begins so."""
    from click.shell_completion import CompletionItem

    typed = context.params.get(parameter.name or "") or ()
    found = [] if typed else ready_recipes(context, parameter, incomplete)
    return found or [CompletionItem(incomplete, type="file")]
