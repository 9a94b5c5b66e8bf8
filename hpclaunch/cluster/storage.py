"""Can the job copy its checkpoints to where the recipe says? Asked before it waits in a queue."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.address import PACKAGES, scheme_of
from hpclaunch.recipe.schema import Checkpoints


def check_storage(checkpoints: Checkpoints, python: Path) -> None:
    """Refuse an address whose package the job's environment at `python` lacks. Raises UserError.

    An environment that takes packages from elsewhere is not judged from here; the job looks again
    before its ranks start.
    """
    url = checkpoints.sync_to
    package = PACKAGES.get(scheme_of(url)) if url else None
    if package is None or _has(package, python):
        return
    raise UserError(
        f"checkpoints.sync_to: {url} needs the package {package}, which {python} does not have",
        f"{python}/bin/python -m pip install {package}",
    )


def _has(package: str, python: Path) -> bool:
    """Say whether an environment holds a package, or may have it from outside."""
    if python.resolve() == Path(sys.prefix).resolve():
        return importlib.util.find_spec(package) is not None
    try:
        settings = (python / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # no plain virtual environment: it may keep its packages anywhere
    if "include-system-site-packages = true" in settings.lower():
        return True
    return any(python.glob(f"lib/python3*/site-packages/{package}"))
