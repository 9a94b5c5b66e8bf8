"""Causes that one line shows: their headline and fix stand in `one_line_causes`."""

from __future__ import annotations

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence


def shown_by_a_line(known: KnownCause, evidence: RunEvidence) -> Cause | None:
    """Return the cause if a phrase of its entry is in what the rank that failed first left."""
    line = evidence.root_cause_line(*known.phrases)
    if line is None:
        return None
    return advice.cause(evidence, line, f"{known.headline}: {line.text}", *known.steps)
