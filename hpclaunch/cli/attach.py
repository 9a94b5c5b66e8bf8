"""Run a drafted job attached to the terminal: what `srun` and `local` share."""

from __future__ import annotations

from collections.abc import Callable

from hpclaunch.cli.follow import printer, say_end
from hpclaunch.cli.text import say, say_findings, say_if
from hpclaunch.diagnose.status import status
from hpclaunch.launch.start import execute
from hpclaunch.render.job import Job
from hpclaunch.run.find import find
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line
from hpclaunch.run.record import Record


def run_to_its_end(job: Job, before: Record | None = None, note: str | None = None) -> int:
    """Run it, every line shown; returns the exit code. `before`: the record of a run that goes on.

    `note` is said once it has begun.
    """
    say_findings(job.plan.notes)

    def started(folder: RunFolder, record: Record) -> Callable[[Line], None]:
        say(f"run {record.name} in {folder.root}")
        say_if(note)
        return printer(folder, record)

    code = execute(job, started, before)
    launch = job.plan.launch
    if not launch.folder.is_dir():
        return code  # stopped before Slurm gave anything: no trace is left
    folder, record = find(str(launch.folder))
    ended = say_end(status(folder, record))
    return code or ended
