"""The scores of many runs in one table, from their folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hpclaunch.cli.text import print_json, say, table
from hpclaunch.frozen import frozen

if TYPE_CHECKING:
    from hpclaunch.run.evaluations import Evaluation, Score, Scores

Column = tuple[str, str]
"""A task and one of its metrics."""


@frozen
class Line:
    """The scores of one set of weights."""

    run: str
    """Name of the run, or of a base model."""
    weights: str
    """`final`, `step-N`, or `base`."""
    scores: dict[Column, Score]

    @property
    def step(self) -> float:
        """Step of the weights; those that are final come last."""
        number = self.weights.removeprefix("step-")
        return float(number) if number.isdecimal() else float("inf")


def print_table(pattern: str | None, tasks: Sequence[str], as_json: bool) -> int:
    """Print the scores of the runs whose names fit; returns the exit code."""
    from fnmatch import fnmatchcase

    import msgspec

    from hpclaunch.run.evaluations import read_evaluations
    from hpclaunch.run.find import default_runs_dir, every

    found: list[tuple[str, Evaluation]] = []
    for run in every(default_runs_dir()):
        name = run.record.name if run.record else run.folder.root.name
        if pattern is None or fnmatchcase(name, pattern):
            found += [(name, each) for each in read_evaluations(run.folder)]
    if as_json:
        print_json([{"run": name, **msgspec.to_builtins(each)} for name, each in found])
        return 0
    lines = lines_of(found, tasks)
    if not lines:
        say("no run that fits has been evaluated: hpclaunch eval RUN --tasks ...")
        return 0
    print(table(cells(lines)))
    return 0


def lines_of(found: Iterable[tuple[str, Evaluation]], tasks: Sequence[str] = ()) -> list[Line]:
    """Return a line for each run's weights and each base model; of equal scores the newest.

    Those of a few rows alone (`--limit`) are left out: they compare with no others. `tasks`: only
    these.
    """
    from hpclaunch.stages.eval import shown_tasks

    lines: dict[tuple[str, str], Line] = {}
    for run, evaluation in sorted(found, key=lambda pair: pair[1].created):
        if evaluation.limit is not None:
            continue
        shown = [task for task in shown_tasks(evaluation) if not tasks or task in tasks]
        keys = [((run, evaluation.checkpoint or "final"), evaluation.scores)]
        if evaluation.base_model:
            keys.append(((evaluation.base_model, "base"), evaluation.base))
        for key, scores in keys:
            line = lines.setdefault(key, Line(*key, {}))
            line.scores.update(_columns(scores, shown))
    kept = [line for line in lines.values() if line.scores]
    return sorted(kept, key=lambda line: (line.weights != "base", line.run, line.step))


def _columns(scores: Scores, tasks: Iterable[str]) -> dict[Column, Score]:
    return {
        (task, metric): score for task in tasks for metric, score in scores.get(task, {}).items()
    }


def cells(lines: Sequence[Line]) -> list[list[str]]:
    """Return the table's cells, heads first; a score that is not known is a dash."""
    columns = list(dict.fromkeys(column for line in lines for column in line.scores))
    heads = ["run", *(f"{task} {metric}" for task, metric in columns), "weights"]
    rows = [heads]
    for line in lines:
        values = [
            f"{line.scores[column].value:.4f}" if column in line.scores else "-"
            for column in columns
        ]
        rows.append([line.run, *values, line.weights])
    return rows
