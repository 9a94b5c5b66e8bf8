"""How much of a node's memory a job gets, in bytes, as far as it is known."""

from __future__ import annotations

import re

from hpclaunch.errors import UserError
from hpclaunch.plan.slurm_options import Option, gpus_of_any_node
from hpclaunch.site.schema import Site

_AMOUNT = re.compile(r"([0-9]{1,12})([KMGTkmgt]?)", re.ASCII)
_BYTES = {"K": 2**10, "": 2**20, "M": 2**20, "G": 2**30, "T": 2**40}
"""Bytes in each of Slurm's units; a number alone is in MiB."""


def granted_bytes(options: tuple[Option, ...], node_memory_mib: int | None) -> int | None:
    """Return the bytes of a node's memory that these options ask for; None: not known.

    `node_memory_mib`: what the nodes have, where Slurm said.
    """
    mem = next((each.value for each in options if each.flag == "--mem"), None)
    if mem == "0":
        return None if node_memory_mib is None else node_memory_mib * 2**20
    return None if mem is None else memory_bytes(mem)


def memory_bytes(mem: str) -> int | None:
    """Return the bytes of what was written for `--mem`; None for `0`, which is all of a node.

    Raises UserError for what is no amount.
    """
    found = _AMOUNT.fullmatch(mem)
    if not found:
        raise UserError(f"--mem {mem!r} is no amount of memory", "write 480G, or 491520 (MiB)")
    return int(found.group(1)) * _BYTES[found.group(2).upper()] or None


def site_memory_bytes(site: Site, kind: str | None, per_node: int) -> int | None:
    """Return the bytes of memory that a job gets at a site with so many GPUs of a node."""
    whole = None if site.mem is None else memory_bytes(site.mem)
    if whole is None or site.exclusive:
        return whole
    request = site.gpus.get(kind or "")
    of_node = (request.per_node if request else None) or gpus_of_any_node(site)
    return whole * min(per_node, of_node) // of_node if of_node else whole
