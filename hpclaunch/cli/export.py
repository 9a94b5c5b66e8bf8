"""`hpclaunch export`: a run's samples for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from hpclaunch.cli import options


@click.command()
@options.run
@click.option("--to", "form", metavar="FORMAT", required=True, help="dmon, vmstat, csv, json, "
              "openmetrics, parquet or tensorboard.")  # fmt: skip
@click.option("--node", "nodes", multiple=True, help="Only this node; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="A file a node into this folder.")
def export(run: str | None, form: str, nodes: tuple[str, ...], out: Path | None) -> int:
    """Write a run's samples as other tools read them.

    dmon and vmstat are the tables of `nvidia-smi dmon -o TD -s puct` and `vmstat -t 1 -y`; the
    others hold every value, with what was not known left out. Goes to the screen unless --out names
    a folder; parquet and tensorboard need one.
    """
    from hpclaunch.errors import UserError
    from hpclaunch.run.find import find
    from monitors.exports.export import ExportError
    from monitors.exports.export import export as write

    folder, _ = find(run)
    try:
        for path in write(folder.metrics, form, out, nodes):
            print(path)
    except ExportError as error:
        what, _, fix = str(error).partition("; ")
        raise UserError(what, fix) from None
    return 0
