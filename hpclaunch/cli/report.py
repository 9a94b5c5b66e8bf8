"""`hpclaunch report`: what a run did and what held it back, from its events and its samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.terminal import Style, paint
from hpclaunch.cli.text import print_json, rows, say, waiting_message
from hpclaunch.errors import UserError
from hpclaunch.secrets import mask

if TYPE_CHECKING:
    from hpclaunch.diagnose.state import Status
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record
    from monitors.analysis.analysis import Analysis, JobContext


_file = click.Path(path_type=Path)


@click.command(
    cls=Command,
    examples=[
        ("The newest run", "hpclaunch report"),
        (
            "A job that was recorded by other tools",
            "hpclaunch report --gpu dmon.txt --cpu vmstat.txt --html job.html",
        ),
    ],
)
@options.run
@click.option(
    "--gpu",
    type=_file,
    multiple=True,
    help="Output of nvidia-smi dmon or --query-gpu --format=csv, in place of a run.",
)
@click.option("--cpu", type=_file, multiple=True, help="Output of vmstat, in place of a run.")
@click.option(
    "--vmstat-unit",
    type=click.Choice(["k", "K", "m", "M"]),
    help="What was given to vmstat -S; without -S vmstat prints K. Its table does not say.",
)
@click.option("--html", type=_file, help="File of the page; by default report.html of the run.")
@click.option(
    "--all-gpus", is_flag=True, help="Print every node and GPU, not the worst, median and best."
)
@options.as_json
def report(
    run: str | None,
    gpu: tuple[Path, ...],
    cpu: tuple[Path, ...],
    vmstat_unit: str | None,
    html: Path | None,
    all_gpus: bool,
    as_json: bool,
) -> int:
    """Report what a run did and what held it back.

    Prints findings, the training, the nodes and GPUs; of more than 16 GPUs the worst, the median
    and the best, with --all-gpus each. Writes the same with plots over time to report.html in the
    run folder, a page that needs no network. RUN may also be a folder that `hpclaunch monitor`
    recorded into. --gpu and --cpu report on a job that was not started by hpclaunch; repeated, the
    first of each are of one node, the second of another.
    """
    if gpu or cpu:
        if run is not None:
            raise UserError("--gpu and --cpu exclude a run", "leave the run out")
        return _files(gpu, cpu, vmstat_unit, html, all_gpus, as_json)
    from dataclasses import asdict

    import msgspec

    from hpclaunch.cli.plan_text import predicted_rows
    from hpclaunch.cli.stage import results_json, stage_rows
    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.status import status
    from hpclaunch.run.evaluations import read_evaluations
    from hpclaunch.run.find import find
    from monitors.analysis.analysis import analyse_folder
    from monitors.report.build import to_dict
    from monitors.report.text import render_text

    if run is not None and _is_record(Path(run)):
        return _record(Path(run), html, all_gpus, as_json)
    folder, record = find(run)
    with waiting_message():
        current = status(folder, record)
    metrics = analyse_folder(folder.metrics, _context(folder, record, current))
    page = _write_page(html or folder.report, metrics)
    if as_json:
        prediction = msgspec.to_builtins(record.prediction)
        training = asdict(current.progress)
        document = {"training": training, "prediction": prediction, "metrics": to_dict(metrics)}
        if record.stage:
            document |= {"stage": record.stage, "results": results_json(folder)["results"]}
        if scores := read_evaluations(folder):
            document["evaluations"] = msgspec.to_builtins(scores)
        print_json(document)
    else:
        head = [("run", f"{record.name}, {current.state}"), *progress_rows(current.progress)]
        head += stage_rows(folder, record)
        head += predicted_rows(record, current.progress)
        head += metrics.rows
        if page:
            head.append(("page", str(page)))
        parts = [rows(head)]
        if metrics.report.nodes or not record.stage:  # some stages are not sampled
            parts.append(render_text(metrics.report, all_gpus))
        if metrics.report.nodes:
            parts.insert(0, _findings(metrics))
        print("\n\n".join(parts))
    sampled = metrics.report.nodes or record.stage
    return 0 if sampled and (page or html is None) else 1


def _context(folder: RunFolder, record: Record, current: Status) -> JobContext:
    """Return what is known of the run beside its samples."""
    from hpclaunch.cli.report_setup import setup_rows
    from hpclaunch.cli.stage import stage_rows
    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.changes import changes, transport
    from monitors.analysis.analysis import JobContext
    from monitors.analysis.event_file import read_event_file

    facts = [("state", str(current.state)), *progress_rows(current.progress)]
    facts += stage_rows(folder, record)
    if current.failure:
        facts.append(("error", current.failure.error))
    logged = read_event_file(folder.events)
    return JobContext(
        title=record.name,
        setup=setup_rows(folder, record, logged.events),
        facts=tuple(facts),
        events=tuple(_masked(event) for event in logged.events),
        problems=logged.problems,
        roles=dict.fromkeys(folder.server_node_names(), "server: writes completions"),
        fixes=changes(folder, record),
        transport=transport(folder),
        token_flops=record.prediction.token_flops if record.prediction else None,
        bf16_peak=lambda name: _bf16_peak(record.gpu or name),
    )


def _masked(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without secrets: what a program or a storage said stands in some."""
    if event["event"] == "step":
        return event
    return {key: mask(value) if isinstance(value, str) else value for key, value in event.items()}


def _bf16_peak(gpu: str | None) -> float | None:
    """Return the bf16 FLOP/s of a GPU type or a driver's name of a GPU; None where unknown."""
    from hpclaunch.site.gpu_names import kind_named
    from hpclaunch.site.load import gpus

    gpu_type = gpu if gpu is None or gpu in gpus() else kind_named(gpu)
    rate = gpus()[gpu_type].bf16_tflops if gpu_type is not None else None
    return None if rate is None else rate * 1e12


def _is_record(folder: Path) -> bool:
    """Return whether a folder is no run's, but holds what `hpclaunch monitor` recorded."""
    from monitors.report.build import holds_record

    return not (folder / "run.json").exists() and holds_record(folder)


def _record(folder: Path, html: Path | None, all_gpus: bool, as_json: bool) -> int:
    """Report on a folder that `hpclaunch monitor` recorded into."""
    from monitors.analysis.analysis import JobContext, analyse_folder

    metrics = analyse_folder(folder, JobContext(title=str(folder)))
    page = _write_page(html or folder / "report.html", metrics)
    _show(metrics, all_gpus, as_json)
    if page and not as_json:
        say(f"the same with plots: {page}")
    return 0


def _files(
    gpu: tuple[Path, ...],
    cpu: tuple[Path, ...],
    vmstat_unit: str | None,
    html: Path | None,
    all_gpus: bool,
    as_json: bool,
) -> int:
    """Report on what other tools recorded.

    Returns 1 where some of the files cannot be used. Raises UserError where none can.
    """
    from monitors.analysis.analysis import analyse_files

    for path in (*gpu, *cpu):
        if not path.is_file():
            raise UserError(f"{path} is not a file")
    metrics = analyse_files(gpu, cpu, vmstat_unit=vmstat_unit)
    *others, last = metrics.report.problems or ("",)
    for problem in others:
        say(problem)
    if not metrics.report.nodes:
        raise UserError(last)
    if last:
        say(last)
    if html is not None:
        _write_page(html, metrics)
    _show(metrics, all_gpus, as_json)
    return 1 if metrics.report.problems else 0


def _show(metrics: Analysis, all_gpus: bool, as_json: bool) -> None:
    from monitors.report.build import to_dict
    from monitors.report.text import render_text

    if as_json:
        print_json({"metrics": to_dict(metrics)})
    else:
        print(_findings(metrics))
        print("\n" + render_text(metrics.report, all_gpus))


def _findings(metrics: Analysis) -> str:
    """Return the verdict and the findings, the verdict in colour."""
    from monitors.report.text import render_findings

    verdict, blank, findings = render_findings(metrics.verdict, metrics.findings).partition("\n\n")
    style: Style = "warning" if metrics.findings else "good"
    return "\n".join(paint(line, style) for line in verdict.split("\n")) + blank + findings


def _write_page(path: Path, metrics: Analysis) -> Path | None:
    """Write the page; returns its path, None where it has no node or cannot be written."""
    from hpclaunch.run.folder import write_atomic
    from monitors.report.build import render_html

    if not metrics.report.nodes:
        return None
    try:
        write_atomic(path, render_html(metrics))
    except OSError as error:
        say(f"{path} cannot be written: {error.strerror}")
        return None
    return path
