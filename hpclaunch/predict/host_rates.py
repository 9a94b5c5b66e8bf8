"""How fast a node's GPUs and its memory exchange what is offloaded: measured, or assumed."""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.frozen import frozen

PCIE_GB_S = 31.5
"""One way of sixteen lanes of PCIe 4, by the standard: taken where the catalogue has no figure."""
REACHED, LEAST, MOST = 0.635, 0.32, 0.87
"""Shares of a host link's data-sheet rate that pinned copies are assumed to reach while all GPUs
of a node copy; the least (two GPUs behind one switch); and the most (55 of 63 GB/s, measured with
one H200 alone)."""
MEMORY_GB_S, MEMORY_RANGE = 150.0, 2.0
"""GB/s that a node's processors get from its memory while they step an offloaded optimizer, and the
factor by which it may be more or less: an assumption."""


@frozen
class HostRates:
    """Rates of a node, and between which bounds they lie."""

    link_gb_s: float
    """Pinned memory to one GPU, while the others of the node copy, too; one way."""
    memory_gb_s: float = MEMORY_GB_S
    """A node's memory to its processors."""
    lowest: tuple[float, float] | None = None
    """Both at the low end of what is assumed; None: measured."""
    highest: tuple[float, float] | None = None

    @property
    def assumed(self) -> bool:
        """Whether the link was not measured."""
        return self.lowest is not None

    def ends(self) -> tuple[HostRates, HostRates]:
        """Return the slowest and the fastest that they may be."""
        low = self.lowest or (self.link_gb_s, self.memory_gb_s)
        high = self.highest or (self.link_gb_s, self.memory_gb_s)
        slowest = replace(self, link_gb_s=low[0], memory_gb_s=low[1])
        return slowest, replace(self, link_gb_s=high[0], memory_gb_s=high[1])

    def __str__(self) -> str:
        """Return what is assumed, in words."""
        words = f"{self.link_gb_s:.3g} GB/s between a GPU and its host"
        if self.lowest and self.highest:
            words += f" ({self.lowest[0]:.3g} to {self.highest[0]:.3g})"
        return f"{words} and {self.memory_gb_s:g} GB/s of a node's memory, for what is offloaded"


def assumed_rates(link_gb_s: float | None = None) -> HostRates:
    """Return the rates of a GPU whose host link has this data-sheet rate; None: PCIe 4."""
    sheet = PCIE_GB_S if link_gb_s is None else link_gb_s
    return HostRates(
        link_gb_s=round(REACHED * sheet, 1),
        lowest=(LEAST * sheet, MEMORY_GB_S / MEMORY_RANGE),
        highest=(MOST * sheet, MEMORY_GB_S * MEMORY_RANGE),
    )


ASSUMED = assumed_rates()
