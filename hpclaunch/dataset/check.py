"""A look at every row of local data before a job is submitted, within a bounded time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpclaunch.chat.survey import Survey
from hpclaunch.chat.tokenizer_files import tokenizer_files
from hpclaunch.dataset.arrow_rows import can_read, check_magic
from hpclaunch.dataset.count import mixture_lines
from hpclaunch.dataset.json_rows import check_end
from hpclaunch.dataset.local import LocalSplit
from hpclaunch.dataset.names import listed
from hpclaunch.dataset.read import read_rows
from hpclaunch.dataset.rows import Position, Row, refused, unlike_first
from hpclaunch.dataset.shape import shape_of
from hpclaunch.dataset.slices import Slice
from hpclaunch.dataset.sources import (
    LocalData,
    Source,
    local_data,
    validates_on_training_rows,
)
from hpclaunch.dataset.splits import missing_shards
from hpclaunch.errors import UserError, printable
from hpclaunch.recipe.data_formats import TEXT_FORMATS
from hpclaunch.recipe.objectives import Shape
from hpclaunch.recipe.schema import Data, Recipe
from hpclaunch.recipe.shapes import COLUMNS, convert, left_out
from hpclaunch.recipe.tools import RowProblem
from hpclaunch.units import size

CHECK_SECONDS = 20.0
"""The most that the look takes; what it did not reach, the job checks before training."""

MORE_SECONDS = 10.0
"""Seconds after that in which the beginning of each further file is still looked at."""

ROWS_A_LOOK_AT_THE_CLOCK = 32
PROGRESS_INTERVAL_SECONDS = 5.0
MOST_PROBLEMS = 1_000
"""Bad rows that are kept while it is not known yet whether a slice takes them."""

Progress = Callable[[str], None]


def check_data(
    recipe: Recipe,
    seconds: float = CHECK_SECONDS,
    progress: Progress = lambda _: None,
    environment: Mapping[str, str] = os.environ,
) -> tuple[str, ...]:
    """Look at the rows of the recipe's local data; return lines that its user should read.

    They name files and columns that are left out, what max_length cuts off, and how much was looked
    at where it was not all. `environment` says where the hub's cache is.
    `progress` is called with a line now and then. Raises UserError naming file and line of a row
    that nobody could train on, or the splits that there are.
    """
    parts = local_data(recipe.data)
    sources = [source for part in parts for source in part[1:] if isinstance(source, Source)]
    survey = Survey(recipe, tokenizer_files(recipe, environment))
    check = _Check(recipe, survey, time.monotonic() + seconds, seconds, progress)
    check.files_left = sum(len(split.files) for source in sources for _, split in source.parts)
    try:
        check.bytes_total = sum(split.bytes for source in sources for _, split in source.parts)
        for part in parts:
            check.begin(part.data)
            if part.training is not None:
                check.look_at(part.training, training=True)
            if part.validation is not None:
                check.look_at(part.validation, training=False)
        check.begin(recipe.data)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None
    if check.complete and not check.unread:
        survey.check_left()
    return (*check.lines(), *mixture_lines(recipe.data), *_validated_on(parts))


def _validated_on(parts: Iterable[LocalData]) -> list[str]:
    if not any(map(validates_on_training_rows, parts)):
        return []
    return [
        "data: rows that are trained on are validated on, too: eval_loss says nothing of other rows"
    ]


@dataclass
class _Check:
    """The look so far."""

    recipe: Recipe
    survey: Survey
    deadline_s: float
    seconds: float
    progress: Progress
    files_left: int = 0
    bytes_total: int = 0
    bytes_before: int = 0
    """Bytes that were looked at in the files before this one."""
    rows: int = 0
    complete: bool = True
    shape: Shape | None = None
    first: Row | None = None
    columns: dict[str, None] = field(default_factory=dict)
    wanted: str = "auto"
    """The format that the recipe says of the dataset."""
    columns_left_out: dict[str, None] = field(default_factory=dict)
    splits: list[LocalSplit] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    last_progress_s: float = field(default_factory=time.monotonic)

    def begin(self, data: Data) -> None:
        """Begin with another dataset, whose rows may have another shape."""
        if self.shape is not None:
            unused = left_out(list(self.columns), self.shape, self.recipe.objective)
            self.columns_left_out |= dict.fromkeys(unused)
        self.shape, self.first, self.columns, self.wanted = None, None, {}, data.format

    def look_at(self, source: Source, *, training: bool) -> None:
        """Look at the rows that a source uses. Raises UserError."""
        for part, split in source.parts:
            if split not in self.splits:
                self.splits.append(split)
            if split.format not in TEXT_FORMATS and not can_read():
                for file in split.files:
                    check_magic(file)
                self.unread.append(split.format)
                continue
            limit = source.limit if source.whole and len(source.parts) == 1 else None
            self._look_at_split(part, split, limit, sample=training and part.whole)

    def _look_at_split(
        self, part: Slice, split: LocalSplit, limit: int | None, *, sample: bool
    ) -> None:
        seen = 0
        whole = True
        problems: list[tuple[int, UserError]] = []
        for file in split.files:
            if time.monotonic() > self.deadline_s + max(self.seconds, MORE_SECONDS):
                whole = False  # so many files that a look at the beginning of each takes long
                break
            position = Position()
            until = time.monotonic() + self._share()
            for row in read_rows(file, split.format, position):
                problem = self._problem(row, split, sample)
                if problem is not None and part.whole:
                    raise problem
                if problem is not None and len(problems) < MOST_PROBLEMS:
                    problems.append((seen, problem))
                seen += 1
                if limit is not None and seen >= limit:
                    break
                if seen % ROWS_A_LOOK_AT_THE_CLOCK == 0 and self._late(position, until):
                    whole = False
                    if split.format == "json":
                        check_end(file)
                    break
            self.bytes_before += position.bytes
            self.files_left -= 1
            if limit is not None and seen >= limit:
                break
        self.rows += seen
        self.complete &= whole
        if whole and not part.whole and not part.bounds(seen):
            raise UserError(
                f"a part of the split {part.split} of {split.name} takes none of its {seen:,} rows",
                "set data.split and data.validation_split to parts that have rows",
            )
        used = _used(part, seen, whole)
        for at, problem in problems:
            if at in used:
                raise problem

    def _share(self) -> float:
        """Return the seconds that the next file may take: what one leaves, the next may use."""
        return max(0.0, self.deadline_s - time.monotonic()) / max(1, self.files_left)

    def _late(self, position: Position, until: float) -> bool:
        """Return whether the file's time is over; report progress meanwhile."""
        now = time.monotonic()
        if now - self.last_progress_s >= PROGRESS_INTERVAL_SECONDS:
            self.last_progress_s = now
            done = min(self.bytes_before + position.bytes, self.bytes_total)
            self.progress(f"checking the data: {size(done)} of {size(self.bytes_total)}")
        return now > until

    def _problem(self, row: Row, split: LocalSplit, sample: bool) -> UserError | None:
        """Return what is wrong with a row. Raises UserError where its columns have no shape."""
        values, wanted = row.values, self.wanted
        for name in values:
            self.columns[name] = None
        if self.shape is None or self.first is None:
            self.shape, self.first = shape_of(row, wanted, self.recipe.objective), row
        missing = [name for name in COLUMNS[self.shape] if name not in values]
        if missing:
            return UserError(
                f"{row.where}: the row has no '{missing[0]}', as those before it have",
                "give all rows the same columns",
            )
        unlike = unlike_first(self.first, row)
        if unlike is not None:
            return refused(row.where, unlike)
        columnar = split.format not in TEXT_FORMATS
        chat = self.survey.has_template
        try:
            taken = convert(values, self.shape, chat=chat, wanted=wanted, columnar=columnar)
            self.survey.look(taken, sample=sample)
        except RowProblem as problem:
            return refused(row.where, str(problem))
        return None

    def lines(self) -> list[str]:
        """Return what the user should read."""
        lines = []
        for split in self.splits:
            is_folder = split.names != [Path(split.name).name]
            missing = missing_shards(split.names) if is_folder else []
            if missing:
                lines.append(
                    f"data: {printable(split.name)}: shards of split {split.split} are missing: "
                    f"{listed(missing)}"
                )
            used = {name for each in self.splits if each.name == split.name for name in each.names}
            unused = [name for name in split.left_out if not _is_among(name, used)]
            if unused or len(split.names) > 1:
                others = f"; left out: {listed(unused)}" if unused else ""
                lines.append(
                    f"data: {printable(split.name)}: split {split.split} is {listed(split.names)}"
                    f"{others}"
                )
        if self.columns_left_out:
            columns = listed(self.columns_left_out, 20)
            lines.append(f"data: columns left out of training: {columns}")
        lines += self.survey.lines()
        if not self.complete:
            lines.append(
                f"data: looked at {size(self.bytes_before)} of {size(self.bytes_total)} "
                f"({self.rows:,} rows) within {self.seconds:g} s; the job checks all rows before "
                "it trains"
            )
        if self.unread:
            kinds = " and ".join(sorted(set(self.unread)))
            lines.append(
                f"data: rows of {kinds} files are checked in the job: pyarrow is not installed here"
            )
        return lines


def _used(part: Slice, seen: int, whole: bool) -> range:
    """Return the numbers of the rows that a slice takes, as far as that is known."""
    if whole:
        return part.bounds(seen)
    known = not part.percent and (part.start or 0) >= 0 and (part.stop or 0) >= 0
    return part.bounds(max(seen, part.stop or seen)) if known else range(0)


def _is_among(name: str, used: set[str]) -> bool:
    """Return whether a file, or a folder's name with a slash, is among the files that are read."""
    return any(each == name or (name[-1:] == "/" and each.startswith(name)) for each in used)
