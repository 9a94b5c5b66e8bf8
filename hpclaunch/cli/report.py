"""`hpclaunch report`: what a run did and what held it back, from its marks and its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows, say

if TYPE_CHECKING:
    from pathlib import Path

    from hpclaunch.diagnose.status import Status
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record
    from monitors.report import Story, Study


@click.command()
@options.run
@options.as_json
def report(run: str | None, as_json: bool) -> int:
    """Report on a run: what held it back, the training, every node and GPU.

    Writes the same with plots over time into the run folder, as report.html: a page that needs
    no network.
    """
    from dataclasses import asdict

    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.run.find import find
    from monitors.report import render_findings, render_text, study, to_dict

    folder, record = find(run)
    with patience():
        found = look(folder, record)
    metrics = study(folder.metrics, _story(folder, record, found))
    page = _write_page(folder, metrics)
    if as_json:
        answer_json({"training": asdict(found.progress), "metrics": to_dict(metrics)})
    else:
        head = [("run", f"{record.name}, {found.state}"), *progress_rows(found.progress, False)]
        head += metrics.rows
        if page:
            head.append(("page", str(page)))
        parts = [rows(head), render_text(metrics.report)]
        if metrics.report.nodes:
            parts.insert(0, render_findings(metrics.verdict, metrics.findings))
        print("\n\n".join(parts))
    return 0 if metrics.report.nodes else 1


def _story(folder: RunFolder, record: Record, found: Status) -> Story:
    """Tell the report what is known of the run beside its samples."""
    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.changes import changes, transport
    from hpclaunch.run.events import read_marks
    from monitors.report import Story

    facts = [("state", str(found.state)), *progress_rows(found.progress, False)]
    if found.failure:
        facts.append(("error", found.failure.error))
    return Story(
        title=record.name,
        facts=tuple(facts),
        marks=tuple(read_marks(folder.events)),
        changes=changes(folder, record),
        transport=transport(folder),
    )


def _write_page(folder: RunFolder, metrics: Study) -> Path | None:
    """Write the page; None where there is nothing to show or it cannot be written."""
    from hpclaunch.run.folder import write_atomic
    from monitors.report import render_html

    if not metrics.report.nodes:
        return None
    try:
        write_atomic(folder.report, render_html(metrics))
    except OSError as error:
        say(f"{folder.report} cannot be written: {error.strerror}")
        return None
    return folder.report
