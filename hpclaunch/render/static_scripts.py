"""The files beside job.sbatch that are the same for every job: launch.sh and node.sh."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

from hpclaunch.shipped import shipped

NAMES = ("launch.sh", "node.sh")


@cache
def static_scripts() -> dict[str, str]:
    """Return the text of each file by its name in the run folder."""
    folder = shipped("render", "static")
    return {name: (folder / name).read_text(encoding="utf-8") for name in NAMES}


def checksums(scripts: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each text in hexadecimal, as `sha256sum` prints it."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in scripts.items()}
