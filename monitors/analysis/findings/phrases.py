"""Numbers and names in the sentences of findings."""

from __future__ import annotations

from collections.abc import Sequence

from monitors.analysis.evidence import Evidence

STILL_LINK_MB_S = 1.0
"""A link that carries less carries nothing of a training's."""
_NAMED = 4


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{100 * share:.0f}%"


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
