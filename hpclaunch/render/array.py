"""The script of a job array: task N runs the script in the folder of run N. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.render.job import Job
from hpclaunch.render.script import header_value

TASKS = "tasks"
"""Folder of the array: link N leads to the run folder of task N."""

_OWN = ("#SBATCH --job-name", "#SBATCH --output")


def array_script(jobs: Mapping[int, Job], folder: Path, parallel: int) -> str:
    """Return the script for an array of jobs by their tasks, `parallel` of them at once at most.

    Each task requests what the jobs' own scripts do, and writes the log of its own run. Raises
    UserError where the jobs request different things of Slurm.
    """
    headers = {_headers(job) for job in jobs.values()}
    if len(headers) != 1:
        raise UserError(
            "the runs of a sweep request different things of Slurm, and the tasks of a job array "
            "cannot",
            "sweep over one of them at a time",
        )
    limit = "" if parallel >= len(jobs) else f"%{parallel}"
    tasks = folder / TASKS
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={folder.name}",
        f"#SBATCH --array={_numbers(sorted(jobs))}{limit}",
        *headers.pop(),
        # Through the link: what Slurm itself writes of a task stands in its run's log, too.
        f"#SBATCH --output={header_value(f'{tasks}/%a/logs/job-%j.out')}",
        "",
        "# Runs of one recipe: task N runs the script in the run folder that link N leads to.",
        "# exec: Slurm's signals reach that script itself.",
        f'exec bash {shlex.quote(str(tasks))}/"$SLURM_ARRAY_TASK_ID"/job.sbatch',
    ]
    return "\n".join(lines) + "\n"


def _numbers(tasks: Sequence[int]) -> str:
    """Return tasks as Slurm writes them: `0-3,7`."""
    spans: list[list[int]] = []
    for task in tasks:
        if spans and spans[-1][-1] == task - 1:
            spans[-1] = [spans[-1][0], task]
        else:
            spans.append([task])
    return ",".join("-".join(str(end) for end in span) for span in spans)


def _headers(job: Job) -> tuple[str, ...]:
    """Return the lines for Slurm of a job's script, without its name and its log."""
    lines = [line for line in job.script.splitlines() if line.startswith("#SBATCH ")]
    return tuple(line for line in lines if not line.startswith(_OWN))
