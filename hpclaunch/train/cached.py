"""Names of results in the cache of `datasets`: the same in every process, new with new code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any


def cache_key(rows: Any, modules: Iterable[ModuleType], *parts: object) -> str:
    """Return the fingerprint of what is made of `rows` by these modules with these options.

    The library's own knows nothing of a module's code, so that a newer version would read what an
    older one made; and it changes with the state of objects that a function is given.
    """
    digest = hashlib.sha256(repr((rows._fingerprint, *parts)).encode())
    for module in modules:
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()[:32]
