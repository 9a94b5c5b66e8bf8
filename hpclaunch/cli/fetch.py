"""`hpclaunch fetch`: models and data on this machine, before jobs need them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import print_json, say
from hpclaunch.cli.visible import erase_line

if TYPE_CHECKING:
    from hpclaunch.fetch.download import Progress
    from hpclaunch.fetch.wanted import Wanted
    from hpclaunch.harness.tasks import TaskIndex

LOG_INTERVAL_S = 30.0
"""Seconds between two lines of progress where stderr is no terminal."""


@click.command(
    cls=Command,
    examples=[
        ("All that a recipe needs", "hpclaunch fetch llama3-8b-lora"),
        ("A model and a dataset", "hpclaunch fetch Qwen/Qwen3-8B datasets/tatsu-lab/alpaca"),
        ("The data of two evaluation tasks", "hpclaunch fetch --tasks hellaswag,arc_easy"),
        ("How much it is, and how much room there is", "hpclaunch fetch mine.yaml --dry-run"),
    ],
)
@click.argument(
    "words",
    nargs=-1,
    metavar="RECIPE|MODEL|DATASET|TASK [KEY=VALUE ...]",
    shell_complete=complete.recipes,
)
@click.option(
    "--site", shell_complete=complete.sites, help="Site profile; by default the cluster's own."
)
@click.option(
    "--venv",
    type=click.Path(path_type=Path),
    help="Python environment of the jobs; by default the one hpclaunch runs from.",
)
@click.option("--tasks", help="Data of these tasks of lm-evaluation-harness: a,b.")
@click.option("--tasks-dir", help="Folder of your own task files.")
@click.option("--dry-run", is_flag=True, help="Print what would be fetched, and how much it is.")
@options.as_json
def fetch(
    words: tuple[str, ...],
    site: str | None,
    venv: Path | None,
    tasks: str | None,
    tasks_dir: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Fetch models and data from the hub before jobs need them.

    Weights as safetensors, tokenizer, data and its rows, and the data of evaluation tasks go into
    the hub's cache, where jobs find them without internet. Files that are whole are not fetched
    again; sizes and digests are verified. MODEL and DATASET are hub ids; datasets/OWNER/NAME where
    the hub has a model of that name, too. ID@REVISION takes a commit, tag or branch,
    datasets/ID:CONFIG a configuration.
    """
    from hpclaunch.fetch.download import environment_of
    from hpclaunch.fetch.download import fetch as run_fetch
    from hpclaunch.fetch.wanted import wanted
    from hpclaunch.launch.draft import python_environment, site_here
    from hpclaunch.site.load import load_site

    python = python_environment(venv).path
    find = _TaskFinder(python, tasks_dir)
    items = wanted(words, find) if words or tasks is None else ()
    if tasks is not None:
        items += find.named([name.strip() for name in tasks.split(",") if name.strip()])
    items = tuple(dict.fromkeys(items))
    if not items:
        say("all of it is on this machine already: nothing is on the hub")
        return 0
    profile = load_site(site or site_here("sbatch"))
    environment = environment_of(os.environ, profile.environment)
    began = time.monotonic()
    line = _ProgressLine()
    with line:
        done = run_fetch(
            items,
            python,
            environment,
            dry_run=dry_run,
            planned=line.planned,
            progress=line,
        )
    seconds = round(time.monotonic() - began, 1)
    result = done.result or {}
    if as_json:
        print_json(done.plan | result | {"seconds": seconds, "dry_run": dry_run})
    else:
        _print(done.plan, done.result, seconds)
    return 0


class _TaskFinder:
    """Finds the datasets of evaluation tasks; the harness's files are read once they are needed."""

    def __init__(self, python: Path, own: str | None) -> None:
        self._python, self._own = python, own
        self._index: TaskIndex | None = None

    def __call__(self, word: str) -> list[Wanted]:
        """Return the datasets of a task; none for a word that is none, or without the harness."""
        from hpclaunch.errors import UserError

        try:
            return list(self.named([word])) if self._read().matching(word) else []
        except UserError:
            return []

    def named(self, names: list[str]) -> tuple[Wanted, ...]:
        """Return the datasets of tasks. Raises UserError."""
        from hpclaunch.fetch.tasks import of_tasks

        return tuple(of_tasks(names, self._read(), self._own))

    def _read(self) -> TaskIndex:
        from hpclaunch.fetch.tasks import task_index

        if self._index is None:
            self._index = task_index(self._python, self._own)
        return self._index


def _print(plan: dict[str, Any], result: dict[str, Any] | None, seconds: float) -> None:
    from hpclaunch.cli.text import table
    from hpclaunch.units import duration, size

    heads = ["", "files", "size", "missing" if result is None else "fetched", "name"]
    rows = [heads]
    for each in (result or plan)["items"]:
        moved = each["missing_bytes"] if result is None else each["fetched_bytes"]
        rows.append(
            [
                each["kind"],
                f"{each['files']:,}",
                size(each["bytes"]),
                size(moved) if moved else "-",
                each["name"] + (f" ({each['subset']})" if each["subset"] else ""),
            ]
        )
    print(table(rows))
    if result is None:
        print(f"{size(plan['needed_bytes'])} to fetch into {_room(plan)}")
        return
    moved = sum(each["fetched_bytes"] for each in result["items"])
    what = f"fetched {size(moved)} in {duration(seconds)}" if moved else "it was all there"
    print(f"{what}; sizes and digests verified; in {plan['cache']}")


def _room(plan: dict[str, Any]) -> str:
    from hpclaunch.units import size

    return f"{plan['cache']}, which has {size(plan['free_bytes'])} free"


class _ProgressLine:
    """One line that moves on a terminal; elsewhere a line every half minute. On stderr."""

    def __init__(self) -> None:
        from hpclaunch.cli.terminal import is_terminal

        self._moves = is_terminal(sys.stderr) and os.environ.get("TERM", "dumb") != "dumb"
        self._drawn = False
        self._last_s = time.monotonic()
        self._rate = _Rate()

    def __enter__(self) -> _ProgressLine:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take the line away; after an interruption say how to go on."""
        self._erase()
        if kind is KeyboardInterrupt:
            say("what was fetched whole stays: the same command goes on")

    def planned(self, plan: dict[str, Any]) -> None:
        """Print how much is to be fetched, and how much room there is."""
        from hpclaunch.units import size

        self._erase()
        needed = plan["needed_bytes"]
        if needed:
            say(f"{size(needed)} to fetch into {_room(plan)}")

    def __call__(self, progress: Progress) -> None:
        """Show what is done now."""
        from hpclaunch.units import size_of

        text = progress.text
        if progress.done is not None:
            text += f" {size_of(progress.done, progress.total)}"
            text += self._rate.text(progress.text, progress.done, progress.total)
        if self._moves:
            self._draw(text)
        elif time.monotonic() - self._last_s >= LOG_INTERVAL_S:
            self._last_s = time.monotonic()
            say(text)

    def _draw(self, text: str) -> None:
        import shutil

        width = shutil.get_terminal_size().columns - 1
        shown = "".join(c if c.isprintable() else "?" for c in text)
        sys.stderr.write(erase_line(sys.stderr) + shown[: max(0, width)])
        sys.stderr.flush()
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            sys.stderr.write(erase_line(sys.stderr))
            sys.stderr.flush()


class _Rate:
    """How fast bytes come, and how long the rest takes."""

    def __init__(self) -> None:
        self._what = ""
        self._began = (0.0, 0)

    def text(self, what: str, done: int, total: int | None) -> str:
        """Return the rate since this began, and the time left, behind a comma."""
        from hpclaunch.units import duration, size

        now = time.monotonic()
        if what != self._what:
            self._what, self._began = what, (now, done)
        seconds, moved = now - self._began[0], done - self._began[1]
        if seconds < 2 or moved <= 0:
            return ""
        rate = moved / seconds
        left = duration((total - done) / rate) if total else ""
        return f", {size(rate)}/s" + (f", {left} left" if left else "")
