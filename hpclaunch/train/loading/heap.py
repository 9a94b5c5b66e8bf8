"""What a rank frees while it loads goes back to the node at once, where glibc's malloc is at work.

malloc by itself keeps freed blocks of up to 32 MB for later, once such a block was freed. Small
ones that stay are then put between those that are freed, and the process grows with every matrix
that it converts: by a multiple of what it holds in the end.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LOADING = 2**20
"""Bytes from which a block is mapped by itself while loading."""
TRAINING = 2**25
"""The same afterwards: what malloc's own rule comes to by then, and never exceeds."""


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Within it blocks of 1 MiB and more return to the system when they are freed.

    Nothing changes for another malloc, nor where the environment sets malloc's thresholds.
    """
    try:
        if "GLIBC_TUNABLES" in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
            raise AttributeError
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        yield
        return
    _set(mallopt, LOADING)
    try:
        yield
    finally:
        _set(mallopt, TRAINING)


def _set(mallopt: ctypes._NamedFuncPointer, threshold: int) -> None:
    mallopt(M_MMAP_THRESHOLD, threshold)
    mallopt(M_TRIM_THRESHOLD, 2 * threshold)  # malloc's own rule
