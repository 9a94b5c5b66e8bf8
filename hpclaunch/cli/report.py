"""`hpclaunch report`: what a run did and what held it back, from its events and its samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows, say
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.diagnose.state import Status
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record
    from monitors.analysis.analysis import Analysis, JobContext


_file = click.Path(path_type=Path)


@click.command()
@options.run
@click.option(
    "--gpu", type=_file, multiple=True, help="What nvidia-smi dmon wrote, in place of a run."
)
@click.option("--cpu", type=_file, multiple=True, help="What vmstat wrote, in place of a run.")
@click.option("--html", type=_file, help="The page's file; by default report.html of the run.")
@click.option(
    "--all-gpus", is_flag=True, help="Print every node and GPU, not the worst, median and best."
)
@options.as_json
def report(
    run: str | None,
    gpu: tuple[Path, ...],
    cpu: tuple[Path, ...],
    html: Path | None,
    all_gpus: bool,
    as_json: bool,
) -> int:
    """Report on a run: what held it back, the training, its nodes and GPUs.

    Of more than 16 GPUs it prints the worst, the median and the best; --all-gpus prints each.
    Writes the same with plots over time into the run folder, as report.html: a page that needs
    no network. RUN may also be a folder that `hpclaunch monitor` recorded into. --gpu and --cpu
    report on a job that was not started by hpclaunch; given several times, the first of each are of
    one node, the second of another.
    """
    if gpu or cpu:
        if run is not None:
            raise UserError("--gpu and --cpu stand in place of a run", "leave the run out")
        return _files(gpu, cpu, html, all_gpus, as_json)
    from dataclasses import asdict

    import msgspec

    from hpclaunch.cli.plan_text import predicted_rows
    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.run.find import find
    from monitors.analysis.analysis import analyse_folder
    from monitors.report.build import to_dict
    from monitors.report.text import render_findings, render_text

    if run is not None and _is_record(Path(run)):
        return _record(Path(run), html, all_gpus, as_json)
    folder, record = find(run)
    with patience():
        found = look(folder, record)
    metrics = analyse_folder(folder.metrics, _context(folder, record, found))
    page = _write_page(html or folder.report, metrics)
    if as_json:
        prediction = msgspec.to_builtins(record.prediction)
        training = asdict(found.progress)
        answer_json({"training": training, "prediction": prediction, "metrics": to_dict(metrics)})
    else:
        head = [("run", f"{record.name}, {found.state}"), *progress_rows(found.progress, False)]
        head += predicted_rows(record, found.progress)
        head += metrics.rows
        if page:
            head.append(("page", str(page)))
        parts = [rows(head), render_text(metrics.report, all_gpus)]
        if metrics.report.nodes:
            parts.insert(0, render_findings(metrics.verdict, metrics.findings))
        print("\n\n".join(parts))
    return 0 if metrics.report.nodes and (page or html is None) else 1


def _context(folder: RunFolder, record: Record, found: Status) -> JobContext:
    """Return what is known of the run beside its samples."""
    from hpclaunch.cli.report_setup import setup_rows
    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.changes import changes, transport
    from hpclaunch.run.events import read_events
    from monitors.analysis.analysis import JobContext

    facts = [("state", str(found.state)), *progress_rows(found.progress, False)]
    if found.failure:
        facts.append(("error", found.failure.error))
    events = tuple(read_events(folder.events))
    return JobContext(
        title=record.name,
        setup=setup_rows(folder, record, events),
        facts=tuple(facts),
        events=events,
        changes=changes(folder, record),
        transport=transport(folder),
        token_flops=record.prediction.token_flops if record.prediction else None,
        bf16_peak=lambda name: _bf16_peak(record.gpu or name),
    )


def _bf16_peak(gpu: str | None) -> float | None:
    """Return the bf16 FLOP/s of a GPU type or a driver's name of a GPU; None where unknown."""
    from hpclaunch.site.load import gpus, kind_named

    kind = gpu if gpu is None or gpu in gpus() else kind_named(gpu)
    rate = gpus()[kind].bf16_tflops if kind is not None else None
    return None if rate is None else rate * 1e12


def _is_record(folder: Path) -> bool:
    """Return whether a folder is no run's, but holds what `hpclaunch monitor` recorded."""
    from monitors.report.build import holds_record

    return not (folder / "run.json").exists() and holds_record(folder)


def _record(folder: Path, html: Path | None, all_gpus: bool, as_json: bool) -> int:
    """Report on a record of nodes without a run."""
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
    html: Path | None,
    all_gpus: bool,
    as_json: bool,
) -> int:
    """Report on what other programs recorded. Raises UserError where a file cannot be opened."""
    from monitors.analysis.analysis import analyse_files

    for path in (*gpu, *cpu):
        if not path.is_file():
            raise UserError(f"{path} is not a file")
    metrics = analyse_files(gpu, cpu)
    for problem in metrics.report.problems:
        say(problem)
    if html is not None:
        _write_page(html, metrics)
    _show(metrics, all_gpus, as_json)
    return 1 if metrics.report.problems else 0


def _show(metrics: Analysis, all_gpus: bool, as_json: bool) -> None:
    from monitors.report.build import to_dict
    from monitors.report.text import render_findings, render_text

    if as_json:
        answer_json({"metrics": to_dict(metrics)})
    else:
        print(render_findings(metrics.verdict, metrics.findings))
        print("\n" + render_text(metrics.report, all_gpus))


def _write_page(path: Path, metrics: Analysis) -> Path | None:
    """Write the page; None where there is nothing to show or it cannot be written."""
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
