"""Numbers and names in the sentences of findings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitors.analysis.evidence import Evidence
from monitors.analysis.levels import LevelChange

STILL_LINK_MB_S = 1.0
"""A link that carries less carries nothing of a training's."""
_NAMED = 4
_FRACTIONS = ((1 / 2, "half"), (1 / 3, "a third"), (1 / 4, "a quarter"))
_NEAR = 0.015
_SHORT_S = 1200.0
"""In records that are shorter, a moment is told to the second."""
_DATED_S = 1e8
"""Unix seconds. Times before are those of tables that have none: they begin soon after 1970."""


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{100 * share:.0f}%"


def fraction(share: float) -> str:
    """A share from 0 to 1 of something that follows: `half`, `62% of`."""
    for value, word in _FRACTIONS:
        if abs(share - value) < _NEAR:
            return word if word == "half" else f"{word} of"
    return f"{percent(share)} of"


def clock_time(evidence: Evidence, moment: float) -> str:
    """A moment by the nodes' own clocks: `14:20`; with the date where the record has several.

    One at a cell's edge outside the record is the record's own begin or end.
    """
    begin, end = evidence.timeline.record
    moment = min(max(moment, begin), end)
    if moment < _DATED_S:
        minutes, seconds = divmod(round(moment - begin), 60)
        return f"{minutes} min {seconds:02d} s after the begin"
    offset = timedelta(seconds=evidence.timeline.nodes[0].utc_offset_s)
    at, first, last = (datetime.fromtimestamp(t, UTC) + offset for t in (moment, begin, end))
    text = f"{at:%H:%M:%S}" if end - begin < _SHORT_S else f"{at:%H:%M}"
    return text if first.date() == last.date() else f"{at:%Y-%m-%d} {text}"


def period(evidence: Evidence, change: LevelChange) -> str:
    """When a value was at its lower level: `since 14:20`, `until 14:20`, `from 14:20 to 14:50`."""
    begin = clock_time(evidence, change.begin)
    if change.end is None:
        return f"since {begin}" if change.fell else f"until {begin}"
    end = clock_time(evidence, change.end)
    return f"from {begin} to {end}" if change.fell else f"except from {begin} to {end}"


def levels(evidence: Evidence, change: LevelChange, unit: str) -> str:
    """Both levels of a value, with the moment: `705 MHz since 14:20, else 1,403 MHz`."""
    when = period(evidence, change)
    return f"{change.low:,.0f}{unit} {when}, else {change.high:,.0f}{unit}"


def gib(mib: float) -> str:
    """An amount of memory given in MiB."""
    return f"{mib / 1024:.1f} GiB"


def several(names: Sequence[str]) -> str:
    """Names in a sentence; of many, the first and the number of the others."""
    if len(names) > _NAMED:
        return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} others"
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def sentence(parts: Sequence[str]) -> str:
    """Pieces of evidence as one sentence."""
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def traffic(evidence: Evidence) -> str:
    """What the busiest node sent, network by network; nothing where all were still."""
    parts = []
    for name, label in (("ib_tx_mb_s", "InfiniBand"), ("net_tx_mb_s", "Ethernet")):
        rates = evidence.each_node(name)
        if rates and max(rates.values()) >= STILL_LINK_MB_S:
            parts.append(f"{max(rates.values()):,.0f} MB/s a node out over {label}")
    return ", ".join(parts)
