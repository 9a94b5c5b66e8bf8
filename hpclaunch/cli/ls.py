"""`hpclaunch ls`: your runs, a line each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Command
from hpclaunch.cli.terminal import STATE_STYLES
from hpclaunch.cli.text import print_json, say, table, waiting_message
from hpclaunch.units import UNKNOWN, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpclaunch.diagnose.listing import Summary
    from hpclaunch.run.find import Listed

NEWEST = 20
"""Runs that are listed unless --all asks for every one."""
_AT_ONCE = 50
"""Runs that Slurm is asked about together."""


def _states(context: click.Context, parameter: click.Parameter, value: str | None) -> set[str]:
    """Read `failed,running`."""
    from hpclaunch.diagnose.state import State

    chosen = {word.strip().replace("-", " ") for word in (value or "").split(",") if word.strip()}
    valid = get_args(State)
    unknown = sorted(chosen - set(valid))
    if unknown:
        raise click.BadParameter(f"no state '{unknown[0]}'; valid: {', '.join(valid)}")
    return chosen


@click.command(
    cls=Command,
    examples=[
        ("The newest, wherever they are", "hpclaunch ls"),
        ("All that failed, of one recipe", "hpclaunch ls --all --state failed --recipe tiny"),
        ("For a script", "hpclaunch ls 'sweep-*' --json"),
        ("Tokenized rows and 4-bit weights that later starts read", "hpclaunch ls --cache"),
    ],
)
@click.argument("pattern", nargs=-1, metavar="[PATTERN]", shell_complete=complete.runs)
@click.option("--state", callback=_states, help="Only these: running,queued.")
@click.option("--recipe", shell_complete=complete.ready_recipes, help="Only runs of this recipe.")
@click.option("--here", is_flag=True, help="Only runs in the folder that new runs go to.")
@click.option("--all", "every_run", is_flag=True, help=f"All, not the newest {NEWEST} alone.")
@click.option("--cache", is_flag=True, help="What starts have kept for later ones, not runs.")
@options.as_json
def ls(
    pattern: tuple[str, ...],
    state: set[str],
    recipe: str | None,
    here: bool,
    every_run: bool,
    cache: bool,
    as_json: bool,
) -> None:
    """List your runs.

    Each with its state, step, age since submission, GPU-hours, job and folder, the newest first; a
    stage, such as merge, with the run that it is of in place of the step.
    PATTERN is a name, or several; `*` stands for anything. A folder that cannot be read is listed,
    too.
    """
    from dataclasses import asdict

    from hpclaunch.run.find import default_runs_dir, every

    if cache:
        _print_cache(as_json=as_json)
        return

    runs_dir = default_runs_dir()
    listed = [
        run
        for run in every(runs_dir)
        if _fits(run, pattern, recipe) and not (here and run.folder.root.parent != runs_dir)
    ]
    listed.sort(key=lambda run: run.record.created if run.record else 0.0, reverse=True)
    with waiting_message():
        found, more = _take(listed, state, None if every_run else NEWEST)
    if as_json:
        print_json([asdict(run) for run in found])
        return
    if found:
        print(_text(found))
    if more:
        say(f"the newest {len(found)}; --all lists more")
    elif not found:
        say("no run fits" if listed or pattern or state or recipe else "there is no run yet")


def _print_cache(*, as_json: bool) -> None:
    """Print the entries of this user's cache."""
    import os
    from dataclasses import asdict

    from hpclaunch.run.content_cache import UNUSED_DAYS, cache_root, kept_entries
    from hpclaunch.units import size

    root = cache_root(os.environ)
    found = kept_entries(root)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    if not found:
        say(f"{root} holds nothing yet")
        return
    lines = [("kind", "what", "size", "last used", "folder")]
    for entry in found:
        unused = duration(max(0.0, time.time() - entry.used))
        lines.append((entry.kind, entry.what, size(entry.bytes), unused, str(entry.folder)))
    print(table(lines))
    total = size(sum(entry.bytes for entry in found))
    say(f"{total} in all; what no start reads for {UNUSED_DAYS} days is removed")


def _fits(run: Listed, patterns: tuple[str, ...], recipe: str | None) -> bool:
    from fnmatch import fnmatchcase

    name = run.record.name if run.record else run.folder.root.name
    if patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
        return False
    return recipe is None or (run.record is not None and run.record.recipe == recipe)


def _take(listed: list[Listed], states: set[str], most: int | None) -> tuple[list[Summary], bool]:
    """Return the first runs in one of the states, and whether there are more."""
    from hpclaunch.diagnose.listing import summaries

    def in_states() -> Iterator[Summary]:
        for begin in range(0, len(listed), _AT_ONCE):
            for run in summaries(listed[begin : begin + _AT_ONCE]):
                if not states or run.state in states:
                    yield run

    found: list[Summary] = []
    for run in in_states():
        if most is not None and len(found) == most:
            return found, True
        found.append(run)
    return found, False


def _text(runs: list[Summary]) -> str:
    lines = [("run", "state", "step", "age", "GPU-hours", "job", "folder")]
    lines += [
        (
            run.name,
            run.state,
            _step(run),
            duration(None if run.created is None else max(0.0, time.time() - run.created)),
            UNKNOWN if run.gpu_hours is None else f"{run.gpu_hours:,.2f}",
            run.job_id or "",
            _place(run),
        )
        for run in runs
    ]
    return table(lines, ["", *(STATE_STYLES.get(run.state, "") for run in runs)])


def _step(run: Summary) -> str:
    if run.step is None:
        return f"{run.stage} of {run.of}" if run.stage and run.of else run.stage
    return f"{run.step:,}" if run.total is None else f"{run.step:,}/{run.total:,}"


def _place(run: Summary) -> str:
    """Return where a run is, from the current folder, and what is wrong with it."""
    folder = run.folder
    where = str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
    return f"{where}: {run.reason}" if run.state == "unknown" and run.reason else where
