"""A finding on GPUs that had nothing to do while others worked."""

from __future__ import annotations

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import gib, several

_UNUSED_PCT, _USED_PCT = 5.0, 20.0
_NOTHING_PCT = 2.0
_HELD_MIB = 2048.0
"""More memory than a GPU without a process of the job has in use."""


def unused_gpus(evidence: Evidence) -> Finding | None:
    """Some GPUs did nothing while others worked."""
    use = evidence.each_gpu("sm_pct")
    unused = sorted(name for name, share in use.items() if share < _UNUSED_PCT)
    if not unused or max(use.values()) < _USED_PCT:
        return None
    what = "nothing" if max(use[name] for name in unused) < _NOTHING_PCT else "next to nothing"
    text = f"Their use was under {_UNUSED_PCT:.0f}% on average; that of the others up to "
    text += f"{max(use.values()):.0f}%"
    held = [evidence.peak(evidence.gpus[name], "memory_used_mib") for name in unused]
    most = max((mib for mib in held if mib is not None), default=None)
    if most is None:
        cause = "The job may have more GPUs than processes: the memory they held is not recorded."
    elif most < _HELD_MIB:
        text += f"; at most {gib(most)} of their memory was in use"
        cause = "The job has more GPUs than processes."
    else:
        text += f"; up to {gib(most)} of their memory was in use"
        cause = "A process holds their memory, but gave them nothing to do: it may wait or hang."
    return Finding(
        "unused",
        f"{several(unused)} did {what}: {len(unused)} of {len(use)} GPUs.",
        f"{text}.",
        cause,
        evidence.fix("unused", "Start one process for each GPU, or ask for fewer.")
        if most is None or most < _HELD_MIB
        else "Look at what the rank on it does: py-spy dump, or its log.",
        where=tuple(unused),
        lost_share=len(unused) / len(use),
        columns=("sm_pct",),
    )
