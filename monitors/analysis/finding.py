"""What a rule of `monitors.analysis.findings` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that held the job back, or will. Texts are plain; whole sentences."""

    key: str
    """What it is about: `JobContext.fixes` has the caller's own fix under it."""
    headline: str
    """The finding in one sentence, fit to be the verdict."""
    evidence: str
    """The numbers it rests on."""
    cause: str
    fix: str
    """What exactly to do."""
    lost_share: float | None = None
    """Share of the time under training that it cost, 0 to 1; None where that is not known."""
    where: tuple[str, ...] = ()
    """GPUs (`n3 GPU 2`) or nodes (`n3`) that stand out; the plots show them in another colour."""
    columns: tuple[str, ...] = ()
    """Columns over time that show it, the clearest first; the page links to their plots."""
    hint: bool = False
    """Nothing held the job back here: it is what could be better, and no verdict."""
    critical: bool = False
    """Worth the first place whatever it cost: something is broken, or about to be."""
