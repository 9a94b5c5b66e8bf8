"""Commands that the rules advise, written as they are typed."""

from __future__ import annotations

import shlex

from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.errors import UserError
from hpclaunch.recipe.training import DEFAULTS


def resume(evidence: RunEvidence, *words: str) -> str:
    """Return the command that goes on with the run, and from where it would."""
    step = evidence.progress.checkpoint
    if evidence.record.program:
        where = "starts your program again"
    else:
        where = "from the beginning" if step is None else f"from step {step}"
    return f"{shlex.join(['hpclaunch', 'resume', evidence.record.name, *words])}   ({where})"


def logs(evidence: RunEvidence, rank: int | None = None) -> str:
    """Return the command that shows the log."""
    chosen = [] if rank is None else ["--rank", str(rank)]
    return shlex.join(["hpclaunch", "logs", evidence.record.name, *chosen])


def training(evidence: RunEvidence) -> dict[str, object]:
    """Return the training section that the run was started with, defaults filled in."""
    from hpclaunch.recipe.load import load

    try:
        section = load(str(evidence.folder.recipe)).training
    except (UserError, OSError, ValueError):
        return dict(DEFAULTS)
    return {**DEFAULTS, **section}
