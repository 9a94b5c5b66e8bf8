"""Memory in pages of 2 MiB, so that a fork has few of them to copy and to free."""

from __future__ import annotations

import ctypes
from pathlib import Path

HUGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
"""Of madvise(2); the second since Linux 6.1."""


def use_huge_pages() -> None:
    """Put what this process has allocated so far into huge pages, where the kernel does that.

    A fork of a process of half a gigabyte takes a third of the CPU time then, its end included.
    """
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, access, _, _, _, *name = line.split(maxsplit=5)
        if access != "rw-p" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(each, 16) for each in place.split("-"))
        madvise(start, end - start, MADV_HUGEPAGE)
        for page in range(-(-start // HUGE) * HUGE, end // HUGE * HUGE, HUGE):
            madvise(page, HUGE, MADV_COLLAPSE)  # refused where nothing is: no matter
