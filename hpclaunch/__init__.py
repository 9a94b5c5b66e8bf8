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
    from hpclaunch.diagnose.status import status
    from hpclaunch.errors import UserError
    from hpclaunch.launch.cancel import cancel
    from hpclaunch.launch.draft import draft
    from hpclaunch.launch.follow import follow
    from hpclaunch.launch.request import Changes, Request
    from hpclaunch.launch.start import execute, submit
    from hpclaunch.plan.resources import Resources
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
    "Changes": "hpclaunch.launch.request",
    "Request": "hpclaunch.launch.request",
    "Resources": "hpclaunch.plan.resources",
    "UserError": "hpclaunch.errors",
    "cancel": "hpclaunch.launch.cancel",
    "draft": "hpclaunch.launch.draft",
    "execute": "hpclaunch.launch.start",
    "find": "hpclaunch.run.find",
    "follow": "hpclaunch.launch.follow",
    "status": "hpclaunch.diagnose.status",
    "submit": "hpclaunch.launch.start",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must start fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'hpclaunch' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
