"""sweep.json: the parameters of a sweep and its runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import check_name
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.group import SWEEP_FILE, find_group, read_group

MOST_RUNS = 100_000
"""Of a sweep: Slurm's arrays are smaller at most sites."""


class SweepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep."""

    name: str
    """Of its folder, which lies beside the sweep's."""
    values: dict[str, str]
    """Value of each parameter, as typed."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What sweep.json holds."""

    format: int = 1
    created: float
    """Unix seconds."""
    name: str = ""
    """Of its folder as it was written."""
    command: list[str]
    parallel: int
    """Number of runs at once, at most."""
    parameters: dict[str, list[str]]
    runs: list[SweepRun]
    """In the order of the array's tasks, which begin with 0."""


def find_sweep(reference: str) -> tuple[Path, Sweep]:
    """Return the folder of a sweep and what it holds. Raises UserError where there is none."""
    folder = find_group(reference, SWEEP_FILE)
    sweep = read_group(folder, SWEEP_FILE, Sweep)
    if len(sweep.runs) > MOST_RUNS:
        raise UserError(f"{folder / SWEEP_FILE} is damaged: {len(sweep.runs):,} runs")
    for run in sweep.runs:
        try:
            check_name(run.name)
        except UserError:
            raise UserError(
                f"{folder / SWEEP_FILE} is damaged: {run.name!r} is no run's name"
            ) from None
    return folder, sweep


def run_folders(folder: Path, sweep: Sweep) -> list[RunFolder]:
    """Return the folder of each run, in the order of the tasks."""
    return [RunFolder(folder.parent / run.name) for run in sweep.runs]
