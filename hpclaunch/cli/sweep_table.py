"""The table of a sweep: values, states and losses of its runs, and the best."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hpclaunch.cli.terminal import STATE_STYLES
from hpclaunch.cli.text import print_json, say, table, waiting_message
from hpclaunch.units import UNKNOWN

if TYPE_CHECKING:
    from hpclaunch.sweep.table import Best, Row


def print_table(reference: str, as_json: bool) -> int:
    """Print what came of a sweep; returns the exit code. Raises UserError where there is none."""
    from hpclaunch.sweep.record import find_sweep
    from hpclaunch.sweep.table import best, not_comparable, rows

    folder, sweep = find_sweep(reference)
    with waiting_message():
        found = rows(folder, sweep)
    first = best(found)
    if as_json:
        print_json(
            {
                "name": folder.name,
                "folder": folder,
                "parameters": sweep.parameters,
                "runs": [asdict(row) for row in found],
                "best": None if first is None else asdict(first),
                "not_comparable_for": not_comparable(sweep),
            }
        )
        return 0
    print(_text(found, list(sweep.parameters)))
    print(_best_line(found, first))
    if keys := not_comparable(sweep):
        say(f"note: the runs differ in {', '.join(keys)}: their losses are of different things")
    early = [row for row in found if row.state in {"failed", "cancelled", "timed out"}]
    if early:
        say(f"{len(early)} ended early: hpclaunch why {early[0].name}")
        say(f"submit them again: hpclaunch sweep --resubmit {folder.name}")
    return 0


def _text(found: list[Row], parameters: list[str]) -> str:
    from hpclaunch.sweep.grid import short_keys

    short = short_keys(parameters)
    lines = [("run", *(short[key] for key in parameters), "step", "eval loss", "loss", "state")]
    lines += [
        (
            row.name,
            *(row.values.get(key, UNKNOWN) for key in parameters),
            _step(row),
            _loss(row.eval_loss),
            _loss(row.loss),
            row.state + (f" ({row.reason})" if row.reason else ""),
        )
        for row in found
    ]
    return table(lines, ["", *(STATE_STYLES.get(row.state, "") for row in found)])


def _step(row: Row) -> str:
    if row.step is None:
        return ""
    return f"{row.step:,}" if row.total is None else f"{row.step:,}/{row.total:,}"


def _loss(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _best_line(found: list[Row], first: Best | None) -> str:
    done = sum(row.state == "done" for row in found)
    if first is None:
        return f"best: {UNKNOWN} ({done} of {len(found)} runs are done)"
    so_far = "" if done == len(found) else f", of the {done} of {len(found)} runs that are done"
    return f"best: {first.name}, by {first.measure} {first.loss:.4f}{so_far}"
