"""Findings on devices that failed. They rest on what the sidecars noted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitors.analysis.evidence import Evidence
from monitors.analysis.finding import Finding
from monitors.analysis.findings.phrases import several

_ERROR = re.compile(
    # Xid 13, 31, 43 and 45 are what a program does to itself; the last two also befall killed ones.
    r"\bXid\b(?! (13|31|43|45)\b)|uncorrect\w* (memory )?error|\bECC\b|\brow of its memory\b",
    re.IGNORECASE,
)
_FAULT = re.compile(r"\bXid (13|31)\b")
_LOST = re.compile(r"is no longer sampled|cannot be sampled|fell off", re.IGNORECASE)
_GPU = re.compile(r"\bGPU (\d+)\b")


def device_errors(evidence: Evidence) -> Finding | None:
    """The driver reported an error of a GPU."""
    return _noted(
        evidence,
        _ERROR,
        "errors",
        "{who} reported hardware or driver errors.",
        "A GPU that reports these can corrupt results, or stop at any moment.",
    )


def program_faults(evidence: Evidence) -> Finding | None:
    """The driver stopped what the program did on a GPU."""
    return _noted(
        evidence,
        _FAULT,
        "program-fault",
        "The program did something illegal on {who}.",
        "A kernel touched memory that is not its own, or could not be executed; "
        "seldom is it the hardware.",
        "Run it again with CUDA_LAUNCH_BLOCKING=1: the traceback then names the operation.",
    )


def lost_gpus(evidence: Evidence) -> Finding | None:
    """A GPU stopped answering for good."""
    return _noted(
        evidence,
        _LOST,
        "lost-gpu",
        "{who} stopped answering.",
        "The GPU fell off the bus or needs a reset.",
    )


def _noted(
    evidence: Evidence,
    pattern: re.Pattern[str],
    key: str,
    says: str,
    cause: str,
    change: str = "Leave {nodes} out and tell the site.",
) -> Finding | None:
    found = list(_notes(evidence, pattern))
    if not found:
        return None
    names = list(dict.fromkeys(name for name, _, _ in found))
    nodes = list(dict.fromkeys(node for _, node, _ in found))
    more = f" ({len(found)} such notes)" if len(found) > 1 else ""
    return Finding(
        key,
        says.format(who=several(names)),
        f"{found[0][1]}: {found[0][2]}{more}",
        cause,
        evidence.fix(key, change.format(nodes=several(nodes)), nodes),
        where=tuple(names),
        columns=("sm_pct", "power_w"),
        critical=True,
    )


def _notes(evidence: Evidence, pattern: re.Pattern[str]) -> Iterator[tuple[str, str, str]]:
    for node in evidence.report.nodes:
        for note in node.notes:
            if pattern.search(note):
                gpu = _GPU.search(note)
                name = f"{node.node} GPU {gpu[1]}" if gpu else node.node
                yield name, node.node, note
