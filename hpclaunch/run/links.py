"""Links in a run folder that what is written next would follow out of it."""

from __future__ import annotations

import os
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder

_FOLLOWED = {"checkpoints", "final"}
"""The first may lie elsewhere; a link in place of the second is taken away."""


def refuse_links_out(folder: RunFolder) -> None:
    """Refuse a run folder whose own files are links to elsewhere. Raises UserError.

    Bash, PyTorch's launcher and TensorBoard write through them. Links that stay inside, such as
    W&B makes, are let be, and so is what bears no name of ours.
    """
    own = {
        path.name
        for name, value in vars(RunFolder).items()
        if isinstance(value, property) and isinstance(path := getattr(folder, name), Path)
    } - _FOLLOWED
    inside = folder.root.resolve()
    for place, folders, files in os.walk(folder.root):
        if Path(place) == folder.root:
            folders[:] = [name for name in folders if name in own]
        for name in (*folders, *files):
            if Path(place) == folder.root and name not in own:
                continue
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise UserError(f"{path} is a link: the run would write through it", "remove it")
