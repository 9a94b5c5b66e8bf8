"""`hpclaunch status`: where a run stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows
from hpclaunch.units import UNKNOWN, count, duration

if TYPE_CHECKING:
    from hpclaunch.diagnose.progress import Progress
    from hpclaunch.diagnose.state import Status


@click.command()
@options.run
@options.as_json
def status(run: str | None, as_json: bool) -> int:
    """Say where a run stands.

    Its state, step, loss and pace, and why it failed if it did.

    Exits 0 where the run waits, runs or is done, 1 where it failed or was ended.
    """
    from dataclasses import asdict

    from hpclaunch.diagnose.status import status as look
    from hpclaunch.run.find import find

    with patience():
        found = look(*find(run))
    if as_json:
        answer_json(asdict(found) | {"seconds_left": found.progress.seconds_left})
    else:
        print(_screen(found))
    return 1 if found.state in {"failed", "cancelled", "timed out"} else 0


def _screen(found: Status) -> str:
    """Return the whole answer as text."""
    lines = [("run", found.name), ("state", _state(found))]
    if found.job_id:
        where = f" on {found.nodes}" if found.nodes else ""
        left = f", {found.time_left} left" if found.time_left else ""
        lines.append(("job", f"{found.job_id}{where}{left}"))
    if found.state == "unknown" and found.job_id:
        lines.append(("next", f"ask again later, or: squeue --jobs {found.job_id}"))
    if found.before:
        lines.append(("before", found.before))
    if found.left_out:
        lines.append(("left out", f"{', '.join(found.left_out)} (failed twice)"))
    if found.kept:
        lines.append(("note", f"{', '.join(found.kept)} failed twice; the job cannot do without"))
    lines += progress_rows(found.progress, found.active)
    if found.failure:
        failure = found.failure
        who = "" if failure.rank is None else f"rank {failure.rank}"
        who += f" on {failure.host}" if failure.host else ""
        lines.append(("error", f"{who}: {failure.error}" if who else failure.error))
        if failure.file:
            lines.append(("error", f"more: {failure.file}"))
    if found.final:
        lines.append(("weights", str(found.final)))
    lines.append(("folder", str(found.folder)))
    return rows(lines)


def _state(found: Status) -> str:
    text = str(found.state)
    if found.reason:
        text += f" ({found.reason})"
    if found.exit_code:
        text += f", exit code {found.exit_code}"
    return text


def progress_rows(progress: Progress, active: bool) -> list[tuple[str, str]]:
    """Return the lines on the training itself, none before it has said anything."""
    lines: list[tuple[str, str]] = []
    if progress.trainable is not None:
        share = f"{count(progress.trainable)} of {count(progress.parameters)} parameters"
        lines.append(("training", share))
    if progress.step is not None:
        text = f"{progress.step} of {count(progress.total)}"
        if active:
            text += f", {duration(progress.seconds_left)} left at this pace"
        if progress.restarts:
            text += f", {progress.restarts + 1} starts"
        lines.append(("step", text))
        if progress.loss is not None:
            first = f"{progress.first_loss:.4f}" if progress.first_loss is not None else UNKNOWN
            lines.append(("loss", f"{progress.loss:.4f}, from {first}"))
        pace = duration(progress.seconds_per_step)
        lines.append(("pace", f"{pace} a step, {count(progress.tokens_per_second)} tokens/s"))
    if progress.checkpoint is not None:
        lines.append(("checkpoint", f"step {progress.checkpoint}"))
    if progress.synced_to is not None:
        step = "" if progress.synced is None else f"step {progress.synced}; "
        lines.append(("copied", f"{step}newest: {progress.synced_to}"))
    if progress.sync_error is not None:
        lines.append(("copied", f"since then not: {progress.sync_error}"))
    return lines
