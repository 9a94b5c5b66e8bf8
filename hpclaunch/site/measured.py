"""What was measured at a site: a file of the user's own beside the profiles, one a site."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.site.load import GENERIC, config_folder

FORMAT = 1
CPU = "cpu"
"""The kind that stands for nodes whose processes train on CPUs."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What collectives reached over one kind of link, one way, in GB/s (10^9 bytes a second)."""

    gather_gb_s: float
    """Of an all-gather: what every rank takes in, by the time it takes."""
    reduce_gb_s: float
    """Of an all-reduce, whose ring sends everything around twice."""
    ranks: int
    nodes: int
    when: float
    """Unix seconds."""


class HostLink(msgspec.Struct, frozen=True, kw_only=True):
    """What copies between pinned memory and a GPU reached, in GB/s, all GPUs of a node at once."""

    to_gpu_gb_s: float
    from_gpu_gb_s: float
    alone_gb_s: float
    """Of one GPU to which memory is copied while the others rest."""
    gpus: int
    when: float
    """Unix seconds."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A site's record, by GPU type: the nodes of one kind may have another network."""

    format: int = FORMAT
    inside: dict[str, Rates] = {}
    """Between the GPUs of a node."""
    across: dict[str, Rates] = {}
    """Between nodes."""
    host: dict[str, HostLink] = {}
    """Between the GPUs and the memory of a node."""


def name_at(site: str, cluster: str | None) -> str:
    """Return the name that a site's record has, on the cluster of that Slurm name.

    Clusters without a profile of their own share the generic one, and have other networks.
    """
    if site != GENERIC or not cluster:
        return site
    return f"{GENERIC}-{re.sub(r'[^A-Za-z0-9_.-]', '-', cluster)}"


def file_of(site: str) -> Path:
    """Return where a site's record is kept."""
    return config_folder() / "measured" / f"{site}.json"


def measured(site: str) -> Measured:
    """Read a site's record, empty where nothing was measured.

    Raises UserError where there is one that cannot be read.
    """
    path = file_of(site)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Measured)
    except FileNotFoundError:
        return Measured()
    except (OSError, msgspec.DecodeError) as error:
        raise _unreadable(path, str(error)) from None
    if found.format != FORMAT:
        raise _unreadable(path, f"format {found.format} is of another version")
    return found


def text_of(record: Measured) -> str:
    """Return the record as it is written."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n"


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"what was measured here cannot be read: {path}: {why}",
        "remove it, and measure again by hpclaunch preflight",
    )
