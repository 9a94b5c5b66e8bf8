"""What `status` and `cancel` do where their argument means a sweep or a pipeline."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from hpclaunch.cli.text import say, waiting_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpclaunch.run.folder import RunFolder


def print_group_status(reference: str | None, as_json: bool) -> int | None:
    """Print the state of a sweep or pipeline; returns the exit code, None where it is neither."""
    from hpclaunch.run.group import PIPELINE_FILE, SWEEP_FILE, group_folder

    if reference is None:
        return None
    if group_folder(reference, PIPELINE_FILE) is not None:
        from hpclaunch.cli.pipeline_status import print_pipeline

        return print_pipeline(reference, as_json)
    if group_folder(reference, SWEEP_FILE) is not None:
        from hpclaunch.cli.sweep_table import print_table

        return print_table(reference, as_json)
    return None


def cancel_group(reference: str | None) -> bool:
    """Cancel every run of a sweep or pipeline that waits or runs; returns False where it is none.

    Raises UserError where none of them waits or runs, or one cannot be cancelled.
    """
    from hpclaunch.run.group import PIPELINE_FILE, SWEEP_FILE, group_folder, require_own_group

    if reference is None:
        return False
    if group_folder(reference, PIPELINE_FILE) is not None:
        from hpclaunch.pipeline.record import find_pipeline, run_folder

        folder, pipeline = find_pipeline(reference)
        runs = [run_folder(folder, stage) for stage in pipeline.stages]
        require_own_group(folder, PIPELINE_FILE, "cancel", runs)
        _cancel(folder.name, runs)
        say(f"go on with it: hpclaunch resume {quote(folder.name)}")
        return True
    if group_folder(reference, SWEEP_FILE) is not None:
        from hpclaunch.sweep.record import find_sweep, run_folders

        folder, sweep = find_sweep(reference)
        require_own_group(folder, SWEEP_FILE, "cancel", run_folders(folder, sweep))
        _cancel(folder.name, run_folders(folder, sweep))
        say(f"go on with them: hpclaunch sweep --resubmit {quote(folder.name)}")
        return True
    return False


def _cancel(name: str, folders: Sequence[RunFolder]) -> None:
    from hpclaunch.diagnose.state import run_state
    from hpclaunch.errors import UserError
    from hpclaunch.launch.cancel import cancel
    from hpclaunch.run.owner import require_own
    from hpclaunch.run.record import read_record

    cancelled = []
    with waiting_message():
        # The last first: none that waits for another begins meanwhile.
        for folder in reversed(folders):
            if not folder.record.is_file():
                continue
            require_own(folder, "cancel")
            record = read_record(folder)
            if run_state(folder, record).active:
                cancel(folder, record)
                cancelled.append(record.name)
    if not cancelled:
        raise UserError(f"no run of {name} waits or runs")
    for run in reversed(cancelled):
        print(f"cancelled {run}")
