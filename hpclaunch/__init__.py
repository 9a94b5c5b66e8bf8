"""Launch, monitor and report fine-tuning of large language models on Slurm clusters.

The same as the command line, from Python:

    from hpclaunch import Request, Resources, draft, find, status, submit

    job = draft(Request(recipe="llama3-8b-qlora", resources=Resources(nodes=2, gpus=4)))
    print(job.script)                      # what `sbatch --dry-run` prints
    submitted = submit(job)                # writes the run folder and submits
    print(status(*find(submitted.record.name)).state)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpclaunch.cluster.cancel import cancel
    from hpclaunch.cluster.draft import draft
    from hpclaunch.cluster.follow import follow
    from hpclaunch.cluster.launch import execute, submit
    from hpclaunch.cluster.request import Changes, Request
    from hpclaunch.diagnose.status import status
    from hpclaunch.errors import UserError
    from hpclaunch.plan.request import Resources
    from hpclaunch.run.find import find

__version__ = "0.1.0"

__all__ = [
    "Changes",
    "Request",
    "Resources",
    "UserError",
    "cancel",
    "draft",
    "execute",
    "find",
    "follow",
    "status",
    "submit",
]

_HOME = {
    "Changes": "hpclaunch.cluster.request",
    "Request": "hpclaunch.cluster.request",
    "Resources": "hpclaunch.plan.request",
    "UserError": "hpclaunch.errors",
    "cancel": "hpclaunch.cluster.cancel",
    "draft": "hpclaunch.cluster.draft",
    "execute": "hpclaunch.cluster.launch",
    "find": "hpclaunch.run.find",
    "follow": "hpclaunch.cluster.follow",
    "status": "hpclaunch.diagnose.status",
    "submit": "hpclaunch.cluster.launch",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must start fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'hpclaunch' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
