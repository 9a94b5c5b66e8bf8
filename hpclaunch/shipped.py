"""Where the files lie that come with the package: profiles, recipes, tables.

Plain paths and no `importlib.resources`: every submission would import that one, and the package is
never run out of an archive.
"""

from __future__ import annotations

from pathlib import Path


def shipped(room: str, *names: str) -> Path:
    """Return the path of a file or folder of a room, as in `shipped("site", "gpus.yaml")`."""
    return Path(__file__).parent.joinpath(room, *names)
