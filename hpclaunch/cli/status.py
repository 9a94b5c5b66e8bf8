"""`hpclaunch status`: the state of a run."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.terminal import STATE_STYLES
from hpclaunch.cli.text import Row, print_json, rows, waiting_message
from hpclaunch.units import UNKNOWN, count, duration

if TYPE_CHECKING:
    from hpclaunch.diagnose.progress import Progress
    from hpclaunch.diagnose.state import Status
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record


@click.command(
    cls=Command,
    examples=[
        ("The newest run", "hpclaunch status"),
        ("By job id, for a script", "hpclaunch status 123456 --json"),
    ],
)
@options.run
@options.as_json
def status(run: str | None, as_json: bool) -> int:
    """Print the state of a run.

    Its step, loss and throughput, its first error if it failed, the folder of weights to take, and
    the stages, such as merge, that took them. Exits with 0 where the run waits, runs or is done,
    with 1 where it failed or was cancelled.
    """
    from hpclaunch.cli.group import print_group_status

    if (code := print_group_status(run, as_json)) is not None:
        return code
    from dataclasses import asdict

    from hpclaunch.diagnose.activity import to_dict
    from hpclaunch.diagnose.status import status as run_status
    from hpclaunch.run.find import find

    with waiting_message():
        folder, record = find(run)
        current = run_status(folder, record)
    if as_json:
        found = asdict(current) | to_dict(current.activity) | {"seconds_left": current.seconds_left}
        found.pop("activity")
        if record.stage:
            from hpclaunch.cli.stage import results_json

            found |= {"stage": record.stage, "results": results_json(folder)["results"]}
        from hpclaunch.cli.weights import weights_json

        found |= weights_json(folder, record, current)
        print_json(found)
    else:
        from hpclaunch.cli.weights import weights_rows

        print(_text(current, _stage_rows(folder, record), weights_rows(folder, record, current)))
    return 1 if current.state in {"failed", "cancelled", "timed out"} else 0


def _stage_rows(folder: RunFolder, record: Record) -> list[tuple[str, str]]:
    """Return what there is to say of a stage, and the scores of a training that was evaluated."""
    if not record.stage and not folder.evaluations.is_dir():
        return []
    from hpclaunch.cli.stage import stage_rows

    return stage_rows(folder, record)


def _text(run: Status, stage: list[tuple[str, str]], weights: list[Row]) -> str:
    """Return the whole state as text."""
    lines: list[Row] = [("run", run.name), *stage[:1]]
    lines.append(("state", _state(run), STATE_STYLES.get(run.state, "")))
    lines += _activity_rows(run)
    if run.job_id:
        where = f" on {run.nodes}" if run.nodes else ""
        left = f", {run.time_left} left" if run.time_left else ""
        lines.append(("job", f"{run.job_id}{where}{left}"))
    if run.server and run.active:
        lines.append(("server", f"{run.server} writes the completions, and trains nothing"))
    if run.state == "unknown" and run.job_id:
        lines.append(("next", f"try again later, or: squeue --jobs {run.job_id}"))
    if run.before:
        lines.append(("before", run.before))
    if run.left_out:
        lines.append(("excluded", f"{', '.join(run.left_out)} (failed twice)", "warning"))
    if run.kept:
        note = f"{', '.join(run.kept)} failed twice, and the job needs as many nodes"
        lines.append(("note", note, "warning"))
    lines += [("note", f"{path} may not be read", "warning") for path in run.unreadable]
    if run.damaged_events:
        what = "line" if run.damaged_events == 1 else "lines"
        note = f"events.jsonl is damaged: {run.damaged_events} {what} cannot be read"
        lines.append(("note", note, "warning"))
    lines += progress_rows(run.progress, _step_timing(run))
    lines += stage[1:]
    if run.failure:
        failure = run.failure
        origin = "" if failure.rank is None else f"rank {failure.rank}"
        origin += f" on {failure.host}" if failure.host else ""
        error = f"{origin}: {failure.error}" if origin else failure.error
        lines.append(("error", error, "bad"))
        if failure.file:
            lines.append(("error", f"more: {failure.file}"))
    lines += weights
    lines.append(("folder", str(run.folder)))
    return rows(lines)


def _state(run: Status) -> str:
    text = str(run.state)
    if run.reason:
        text += f" ({run.reason})"
    if run.exit_code:
        text += f", exit code {run.exit_code}"
    return text


def _activity_rows(run: Status) -> list[Row]:
    """Return what may hang, and what is done beside steps."""
    now = run.activity
    if now is None:
        return []
    lines: list[Row] = []
    if now.hang:
        lines.append(("hang", now.hang, "bad"))
        lines += [("hang", line, "bad") for line in now.ranks]
        lines.append(("next", f"hpclaunch why {quote(run.name)}"))
    elif now.phase:
        since = f", for {duration(now.phase_s)}" if now.phase_s is not None else ""
        lines.append(("phase", f"{now.phase}{since}"))
    return lines


def _step_timing(run: Status) -> str:
    """Return how old the last step is, and how long it takes to the last, to stand after it."""
    now, text = run.activity, ""
    if now is not None and now.step_age_s is not None:
        text += f", {duration(now.step_age_s)} ago"
    if run.active and run.seconds_left is not None:
        text += f", {duration(run.seconds_left)} left at the latest step time"
    elif run.active:
        text += ", remaining time unknown"
    return text


def progress_rows(progress: Progress, timing: str = "") -> list[tuple[str, str]]:
    """Return the lines on the training itself; none before its first event.

    `timing`: text to stand after the last step.
    """
    lines: list[tuple[str, str]] = []
    if progress.trainable is not None:
        trainable = f"{count(progress.trainable)} of {count(progress.parameters)} parameters"
        lines.append(("training", trainable))
    if progress.step is not None:
        text = f"{progress.step} of {count(progress.total)}{timing}"
        if progress.restarts:
            text += f", {progress.restarts + 1} attempts"
        lines.append(("step", text))
        if progress.loss is not None:
            first = f"{progress.first_loss:.4f}" if progress.first_loss is not None else UNKNOWN
            lines.append(("loss", f"{progress.loss:.4f}, first {first}"))
        if progress.metrics:
            lines.append(("answers", progress.metrics))
        lines.append(
            ("step time", f"{duration(progress.seconds_per_step)}, median of the last steps")
        )
        throughput = f"{count(progress.tokens_per_second)} tokens/s in all, over the last steps"
        lines.append(("throughput", throughput))
    lines += _evaluation_rows(progress)
    if progress.checkpoint is not None:
        lines.append(("checkpoint", f"step {progress.checkpoint}"))
    if progress.synced_to is not None:
        step = "" if progress.synced is None else f"step {progress.synced}; "
        lines.append(("uploaded", f"{step}newest: {progress.synced_to}"))
    if progress.sync_error is not None:
        lines.append(("uploaded", f"failed since then: {progress.sync_error}"))
    return lines


def _evaluation_rows(progress: Progress) -> list[tuple[str, str]]:
    """Return the lines on the evaluation loss and the checkpoint where it is the lowest."""
    lines: list[tuple[str, str]] = []
    if progress.eval_loss is not None:
        lines.append(("eval loss", f"{progress.eval_loss:.4f} at step {count(progress.eval_step)}"))
    if progress.best_step is not None and progress.best_eval_loss is not None:
        text = f"step {progress.best_step}, eval loss {progress.best_eval_loss:.4f}"
        if progress.final_step is not None:
            text += f"; the final weights are those of step {progress.final_step}"
        lines.append(("best", text))
    return lines
