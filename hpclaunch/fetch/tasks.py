"""The data of evaluation tasks: which of the hub's datasets they read, and which part of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.fetch.wanted import Wanted
from hpclaunch.harness.tasks import (
    TaskIndex,
    check_tasks,
    harness_folder,
    hub_datasets,
    needed_files,
    read_index,
)


def task_index(python: Path, own: str | None) -> TaskIndex:
    """Return the tasks of lm-evaluation-harness in an environment, and those of a folder `own`.

    Raises UserError where the harness is not installed.
    """
    folders = [harness_folder(python) / "tasks"]
    if own is not None:
        if not Path(own).is_dir():
            raise UserError(f"--tasks-dir {own}: no such folder")
        folders.append(Path(own))
    return read_index(folders)


def of_tasks(names: Sequence[str], index: TaskIndex, own: str | None) -> Iterator[Wanted]:
    """Return the datasets that tasks, groups and tags read. Raises UserError for unknown ones."""
    check_tasks(names, index, own)
    for config in needed_files(names, index).values():
        subset = config.get("dataset_name")
        for name in hub_datasets([config]):
            yield Wanted(name, "dataset", None, subset if isinstance(subset, str) else None)
