"""`hpclaunch srun --shell`: a shell on the first node of an allocation, ready to work."""

from __future__ import annotations

import os
import shlex
import sys

from hpclaunch.errors import UserError
from hpclaunch.launch.attached import inside_allocation
from hpclaunch.launch.start import allocation_command
from hpclaunch.render.job import Job
from hpclaunch.render.script import preamble
from hpclaunch.slurm import commands
from hpclaunch.slurm.allocation import current_allocation
from hpclaunch.slurm.environment import for_submission

STEP = ["srun", "--overlap", "--nodes=1", "--ntasks=1", "--pty"]
"""One task, on the first node. --overlap: it must not hold the cores that the training will use."""


def open_shell(job: Job) -> None:
    """Replace this process by a shell on the allocation's first node, the environment loaded.

    Inside an allocation it is that one's; else Slurm is asked for a new one. Raises UserError.
    """
    commands.require()
    inside = current_allocation() is not None
    # The user's own start-up file comes first: what it does to PATH must not hide the environment.
    startup = "\n".join(["[ ! -r ~/.bashrc ] || . ~/.bashrc", *preamble(job.plan)])
    shell = f"exec bash --rcfile <(printf '%s\\n' {shlex.quote(startup)}) -i"
    argv = [*STEP, "bash", "-c", shell]
    if not inside:
        requested = "\n".join(f"#SBATCH {option}" for option in job.plan.options)
        first = [sys.executable, "-P", "-m", "hpclaunch.launch.allocated", requested]
        argv = [*allocation_command(job), *first, *argv]
    variables = inside_allocation(os.environ) if inside else for_submission(os.environ)
    try:
        os.execvpe(argv[0], argv, variables)  # noqa: S606 - it becomes the shell the user asked for
    except OSError as error:
        raise UserError(f"{argv[0]} cannot be started: {error.strerror}") from None
