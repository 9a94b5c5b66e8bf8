"""Run a drafted job attached to the terminal: what `srun` and `local` share."""

from __future__ import annotations

from collections.abc import Callable

from hpclaunch.cli.data_lines import DataLines
from hpclaunch.cli.follow import print_end, printer
from hpclaunch.cli.progress_line import ProgressLine
from hpclaunch.cli.text import print_notes, say, say_if
from hpclaunch.diagnose.status import status
from hpclaunch.launch.start import execute
from hpclaunch.render.job import Job
from hpclaunch.run.find import find, index_problem
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line
from hpclaunch.run.record import Record


def run_to_its_end(job: Job, before: Record | None = None, note: str | None = None) -> int:
    """Run a job to its end and print its lines; returns the exit code.

    `before` is the record of a run that is resumed; `note` is printed once the job has begun.
    """
    print_notes(job.plan.notes)
    data = DataLines()
    folders: list[RunFolder] = []

    def started(folder: RunFolder, record: Record) -> Callable[[Line], None]:
        folders.append(folder)
        say(f"run {record.name} in {folder.root}")
        say_if(index_problem(folder))
        say_if(note)
        data.print()
        return line.above(folder, printer(folder, record), starts=True)

    with ProgressLine() as line:
        code = execute(job, started, before, data=data)
    if not folders or not folders[0].root.is_dir():
        return code  # stopped before an allocation: nothing was written
    folder, record = find(str(folders[0].root))
    ended = print_end(status(folder, record))
    return code or ended
