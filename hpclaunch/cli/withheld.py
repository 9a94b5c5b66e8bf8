"""Variables of the shell with secrets in them, which no job inherits."""

from __future__ import annotations

import os

from hpclaunch.cli.text import say


def say_withheld() -> None:
    """Name the variables with secrets that a job does not inherit."""
    from hpclaunch.slurm.environment import withheld

    names = withheld(os.environ)
    if names:
        say(
            f"note: the job does not inherit {', '.join(names)}: Slurm would keep them; "
            "it reads tokens from the files of 'hf auth login' and 'wandb login'"
        )
