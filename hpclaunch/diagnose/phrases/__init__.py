"""Words of PyTorch, NCCL, CUDA, Slurm, the hub's client, ... by which causes are known."""

from __future__ import annotations

from collections.abc import Mapping

from hpclaunch.frozen import frozen


@frozen
class Phrases:
    """Plain text to search the job's log for (NCCL's own logs: `evidence.nccl`); a pattern over all
    lines would take seconds per GB."""

    texts: tuple[str, ...]
    """The line has one of these."""
    confirmed: str = ""
    """Regular expression that the line must match, too."""
    latest: bool = False
    """The last lines count, not the first."""
    anywhere: bool = False
    """It may stand far above the log's end; most causes stand in what a rank printed last."""


def phrases(
    *texts: str, confirmed: str = "", latest: bool = False, anywhere: bool = False
) -> Phrases:
    """Return the phrases with these texts."""
    return Phrases(texts, confirmed, latest, anywhere)


Family = Mapping[str, Phrases]
"""Phrases by the name that rules ask for them."""
