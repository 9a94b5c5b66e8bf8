"""`hpclaunch report`: what a run did, from its marks and its sidecars' samples."""

from __future__ import annotations

import click

from hpclaunch.cli import options
from hpclaunch.cli.text import answer_json, patience, rows


@click.command()
@options.run
@options.as_json
def report(run: str | None, as_json: bool) -> int:
    """Report on a run.

    The training, then averages and peaks of every node and GPU.
    """
    from dataclasses import asdict

    from hpclaunch.cli.status import progress_rows
    from hpclaunch.diagnose.status import status as look
    from hpclaunch.run.find import find
    from monitors.report import build, render_text, to_dict

    folder, record = find(run)
    with patience():
        found = look(folder, record)
    metrics = build(folder.metrics)
    if as_json:
        answer_json({"training": asdict(found.progress), "metrics": to_dict(metrics)})
    else:
        head = [("run", f"{record.name}, {found.state}"), *progress_rows(found.progress, False)]
        print(rows(head) + "\n\n" + render_text(metrics))
    return 0 if metrics.nodes else 1
