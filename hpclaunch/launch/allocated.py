"""`python -m hpclaunch.launch.allocated OPTIONS COMMAND ...`: what salloc starts for a shell.

It says what the site has changed of the job, and becomes the command. OPTIONS: the requested ones
as lines of a batch script.
"""

from __future__ import annotations

import os
import sys

from hpclaunch.slurm.rewritten import changed_by_site


def main(arguments: list[str]) -> None:
    """Replace this process by the command; raises OSError where it cannot be started."""
    options, *command = arguments
    changed = changed_by_site(options, os.environ.get("SLURM_JOB_ID", ""))
    if changed:
        print(f"hpclaunch: {changed}", file=sys.stderr, flush=True)
    os.execvp(command[0], command)  # noqa: S606 - the step that the shell runs in


if __name__ == "__main__":
    main(sys.argv[1:])
