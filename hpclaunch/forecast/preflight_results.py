"""What the ranks of a preflight measured: from its run folder into the site's record."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import Record
from hpclaunch.run.regular_file import read_regular
from hpclaunch.site.measured import CPU, HostLink, Rates, file_of, measured, name_at, text_of

PROGRAM = ("-m", "hpclaunch.train.bandwidths")
"""What runs on every rank."""


class _Bandwidth(msgspec.Struct, frozen=True):
    bytes: float
    gather_gb_s: float
    reduce_gb_s: float


class _HostCopies(msgspec.Struct, frozen=True):
    to_gpu_gb_s: float
    from_gpu_gb_s: float
    alone_gb_s: float
    gpus: int


class _PreflightResults(msgspec.Struct, frozen=True):
    when: float
    """Unix seconds."""
    nodes: int
    per_node: int
    inside: list[_Bandwidth] | None
    across: list[_Bandwidth] | None
    host: _HostCopies | None = None


@frozen
class SiteBandwidths:
    """What went into the site's record."""

    kind: str
    """Of GPU, or `cpu`."""
    inside: Rates | None
    """Between the ranks of a node; None where each node had one."""
    across: Rates | None
    """Between nodes; None where there was one."""
    path: Path
    host: HostLink | None = None
    """Between the GPUs and their host's memory; None on CPUs."""


def keep(folder: RunFolder, record: Record) -> SiteBandwidths:
    """Put what a preflight measured into its site's record, in place of what stood there.

    Raises UserError where nothing was measured, or the record cannot be written.
    """
    try:
        found = msgspec.json.decode(read_regular(folder.rates, 1 << 24), type=_PreflightResults)
    except (OSError, msgspec.DecodeError):
        raise UserError(
            "the preflight measured nothing", f"see why: hpclaunch why {quote(record.name)}"
        ) from None
    kind = CPU if record.device == "cpu" else record.gpu
    if kind is None:
        raise UserError(
            "measured, and not kept: the GPU type is not known", "run it again with --gpu TYPE"
        )
    inside = _best(found, found.inside, found.per_node, 1)
    host = _host(found)
    across = _best(found, found.across, found.nodes * found.per_node, found.nodes)
    name = name_at(record.site, record.cluster)
    path = file_of(name)
    try:
        with _alone(path):
            before = measured(name)
            after = msgspec.structs.replace(
                before,
                inside={**before.inside, **({kind: inside} if inside else {})},
                across={**before.across, **({kind: across} if across else {})},
                host={**before.host, **({kind: host} if host else {})},
            )
            write_atomic(path, text_of(after))
    except OSError as error:
        raise UserError(f"what was measured cannot be kept in {path}: {error.strerror}") from None
    return SiteBandwidths(kind, inside, across, path, host)


def _host(found: _PreflightResults) -> HostLink | None:
    if found.host is None:
        return None
    copies = found.host
    return HostLink(
        to_gpu_gb_s=round(copies.to_gpu_gb_s, 3),
        from_gpu_gb_s=round(copies.from_gpu_gb_s, 3),
        alone_gb_s=round(copies.alone_gb_s, 3),
        gpus=copies.gpus,
        when=found.when,
    )


def _best(
    found: _PreflightResults, rows: list[_Bandwidth] | None, ranks: int, nodes: int
) -> Rates | None:
    """Take the largest tensors' rates: what FSDP's layers come nearest to."""
    if not rows:
        return None
    largest = max(rows, key=lambda row: row.bytes)
    return Rates(
        gather_gb_s=round(largest.gather_gb_s, 4),
        reduce_gb_s=round(largest.reduce_gb_s, 4),
        ranks=ranks,
        nodes=nodes,
        when=found.when,
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other preflights of this user from writing between reading and writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        with suppress(OSError):  # not every shared file system has locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
