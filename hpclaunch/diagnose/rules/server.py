"""The server that writes GRPO's completions ended before the training, or never answered."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.run.regular_file import read_end, read_small_text

LAST = 6
"""Last lines of its log that are shown."""
MOST_BYTES = 1 << 16
_ERROR = re.compile(r"^(?:[\w.]+(?:Error|Exception|Interrupt)\b|hpclaunch: )")


def ended(evidence: RunEvidence) -> Cause | None:
    """The server's own end came first (logs/server-exit, which launch.sh writes)."""
    try:
        how = " ".join(read_small_text(evidence.folder.server_exit, 256).split())
    except OSError:
        return None
    try:
        text = read_end(evidence.folder.server_log, MOST_BYTES)[0].decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line for each in text.splitlines() if (line := tidy(each).strip())]
    error = next((line for line in reversed(lines) if _ERROR.match(line)), "")
    what = f"the server ended with {how}" if how.startswith("code") else f"the server gave {how}"
    headline = f"{what}: {error}" if error else f"{what}; its log says no more"
    steps = [f"its log: {evidence.folder.server_log}", advice.resume(evidence)]
    if how.startswith("no answer"):
        steps.insert(1, "give it longer: method.grpo.server.start_minutes, in a new run")
    shown = tuple(Clue(line, evidence.folder.server_log) for line in lines[-LAST:])
    return Cause(headline, tuple(steps), shown)
