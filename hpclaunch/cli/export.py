"""`hpclaunch export`: a run's samples for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Format(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A name in FORMATS, which is loaded only for the help, for completion and for the export."""

    name = "format"

    def names(self) -> list[str]:
        from monitors.exports.formats import FORMATS

        return [*FORMATS]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.names())}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]


@click.command(
    cls=Command,
    examples=[
        ("A CSV file per node", "hpclaunch export my-run --to csv --out samples"),
        ("One node, as nvidia-smi dmon prints it", "hpclaunch export --to dmon --node node1"),
    ],
)
@options.run
@click.option("--to", "form", type=_Format(), required=True, help="Format to write.")
@click.option("--node", "nodes", multiple=True, help="Only this node; repeatable.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write one file per node into this folder."
)
def export(run: str | None, form: str, nodes: tuple[str, ...], out: Path | None) -> int:
    """Export the samples of a run for other tools.

    dmon and vmstat are the tables of `nvidia-smi dmon -o TD -s puct` and `vmstat -t 1 -y`; the
    other formats hold every value, and leave out unknown ones. The output goes to stdout unless
    --out names a folder; parquet and tensorboard need one.
    """
    from hpclaunch.cli.visible import visible
    from hpclaunch.errors import UserError
    from hpclaunch.run.find import find
    from monitors.exports.export import ExportError
    from monitors.exports.export import export as write

    folder, _ = find(run)
    try:
        for path in write(folder.metrics, form, out, nodes):
            print(visible(str(path)))
    except ExportError as error:
        message, _, fix = str(error).partition("; ")
        raise UserError(message, fix) from None
    return 0
