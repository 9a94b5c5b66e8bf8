"""The cache of rows of JSON and CSV files: a dataset builder that writes them a table at a time.

`datasets` replaces `open` and `Path` in a builder's module by slower ones: nothing is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow
from datasets.builder import Key

from hpclaunch.train.cells import UNUSED, Cells, cells_of

ROWS_OF_A_TABLE = 1_000
TEXT_OF_A_TABLE = 32_000_000
"""Characters after which a table ends before it has all its rows."""


@dataclass
class TextRowsConfig(datasets.BuilderConfig):  # type: ignore[misc]  # datasets is untyped here
    """What is written."""

    cells: Cells | None = None


class TextRows(datasets.ArrowBasedBuilder):  # type: ignore[misc]  # datasets is untyped here
    """Reads the files and writes their rows. Raises UserError naming file and line."""

    BUILDER_CONFIG_CLASS = TextRowsConfig

    def _info(self) -> Any:
        string, anything = datasets.Value("string"), datasets.Json()
        cells = self.config.cells
        types = {name: string if name in cells.texts else anything for name in cells.columns}
        return datasets.DatasetInfo(features=datasets.Features({**types, UNUSED: string}))

    def _split_generators(self, dl_manager: Any) -> list[Any]:
        return [datasets.SplitGenerator(name="train")]

    def _generate_shards(self) -> Iterator[str]:
        yield from self.config.cells.files

    def _generate_tables(self) -> Iterator[tuple[Key, pyarrow.Table]]:
        for number, cells in enumerate(_batches(self.config.cells)):
            arrays = {
                name: pyarrow.array(values, pyarrow.string()) for name, values in cells.items()
            }
            for name in cells.keys() - {*self.config.cells.texts, UNUSED}:
                arrays[name] = pyarrow.ExtensionArray.from_storage(pyarrow.json_(), arrays[name])
            yield Key(0, number), pyarrow.table(arrays)


def _batches(wanted: Cells) -> Iterator[dict[str, list[str | None]]]:
    """Return the cells of the rows, column by column, so many rows at a time."""
    names = (*wanted.columns, UNUSED)
    cells: dict[str, list[str | None]] = {name: [] for name in names}
    characters = 0
    for row in cells_of(wanted):
        for name, value in row.items():
            cells[name].append(value)
            characters += len(value or "")
        if len(cells[UNUSED]) >= ROWS_OF_A_TABLE or characters > TEXT_OF_A_TABLE:
            yield cells
            cells, characters = {name: [] for name in names}, 0
    if cells[UNUSED]:
        yield cells
