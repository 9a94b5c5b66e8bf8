"""Can the job copy its checkpoints to where the recipe says? Asked before it waits in a queue."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.launch.program import missing
from hpclaunch.recipe.address import PACKAGES, scheme_of
from hpclaunch.recipe.schema import Checkpoints


def check_storage(checkpoints: Checkpoints, python: Path) -> None:
    """Refuse an address whose package the job's environment at `python` lacks. Raises UserError.

    The job looks again before its ranks start, for modules may bring packages of their own.
    """
    url = checkpoints.sync_to
    package = PACKAGES.get(scheme_of(url)) if url else None
    # From the root: a folder of that name where the user stands is no package of the job's.
    if package and missing(python, [package], Path("/")):
        raise UserError(
            f"checkpoints.sync_to: {url} needs the package {package}, which {python} does not have",
            f"{python}/bin/python -m pip install {package}",
        )
