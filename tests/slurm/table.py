"""The tables that `make faults` and `make verdicts` print: one row a fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitors.analysis.analysis import Analysis
from tests.slurm.case import Cost

HEAD = """| what was done | steps lost | processes gone after | next step after | what happened |
|---|---|---|---|---|"""
VERDICTS = """| what was done | the verdict | listed |
|---|---|---|"""


@dataclass
class Table:
    """Rows in the order in which they came."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, cost: Cost, then: str) -> None:
        """Add a row; a figure that there is none of is a dash."""
        lost = "-" if cost.lost is None else str(cost.lost)
        gone = "-" if cost.gone is None else f"{cost.gone:.0f} s"
        on = "-" if cost.on is None else f"{cost.on:.0f} s"
        self.rows.append(f"| {fault} | {lost} | {gone} | {on} | {then} |")

    def text(self) -> str:
        """The whole table in Markdown."""
        return "\n".join([HEAD, *self.rows])


@dataclass
class Verdicts:
    """What was done to a training, and what the report said of it."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, said: Analysis) -> None:
        """Add a row."""
        keys = ", ".join(finding.key for finding in said.findings) or "-"
        self.rows.append(f"| {fault} | {said.verdict} | {keys} |")

    def text(self) -> str:
        """The whole table in Markdown."""
        return "\n".join([VERDICTS, *self.rows])
