"""The causes of a failure: the first rule that fits, the root before what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpclaunch.diagnose.cause import Cause, Diagnosis
from hpclaunch.diagnose.evidence import Evidence, gather
from hpclaunch.diagnose.failure import Failure
from hpclaunch.diagnose.rules import (
    devices,
    inputs,
    memory,
    network,
    program,
    slurm,
    standing,
    storage,
)
from hpclaunch.diagnose.state import Status
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record

Rule = Callable[[Evidence], Cause | None]

STANDING: tuple[Rule, ...] = (
    standing.written,
    standing.queued,
    standing.running,
    standing.done,
    standing.stopped,
)
"""States that are no failure: nothing more is looked for."""

FAILED: tuple[Rule, ...] = (
    # Somebody's decision, and nodes: the ranks can tell nothing of these but their consequences.
    slurm.cancelled,
    slurm.node_failure,
    slurm.preempted,
    slurm.time_limit,
    slurm.no_log,
    # A device or the memory gave out: everything else that is seen may follow from it.
    devices.hardware,
    memory.gpu,
    memory.host,
    # What was not there, or was refused.
    storage.not_shared,
    inputs.environment,
    inputs.bad_row,
    inputs.offline,
    # The hub answers 401 for what does not exist, too: its own words come before the number.
    inputs.not_found,
    inputs.gated,
    storage.quota,
    storage.full,
    storage.broken,
    devices.missing,
    devices.driver,
    network.port,
    inputs.package,
    devices.fault,
    # The first rank's own words, or its end without any.
    program.exception,
    program.killed,
    # What the other ranks saw of it, where nothing tells what it was.
    network.timeout,
    network.not_met,
    network.peer,
    program.script,
    standing.local_killed,
    standing.unknown_state,
)
"""In this order: whoever comes first wins, the others are told as seen beside it."""

DECIDED = {"cancelled", "node-failure", "preempted", "time-limit"}
"""Ends from outside: what the ranks said before them is worth telling."""

GENERAL = {"exception", "killed", "collective-timeout", "not-met", "peer-lost", "script"}
"""Causes that are seen whenever a rank fails: beside a more telling one they add nothing."""

ALSO = 3
"""Other things seen that are told."""


def evidence(folder: RunFolder, record: Record, found: Status) -> Evidence:
    """Gather all that is known of a run whose state is known."""
    return gather(
        folder, record, found.state, found.slurm or "", found.reason, found.exit_code,
        found.progress,
    )  # fmt: skip


def diagnose(e: Evidence) -> Diagnosis:
    """Return the cause, and what was seen beside it."""
    return _diagnosis(e, causes(e))


def causes(e: Evidence) -> list[Cause]:
    """Return every cause that fits, the root first; never none."""
    for rule in STANDING:
        found = rule(e)
        if found:
            return [found]
    fitting = [cause for rule in FAILED if (cause := rule(e)) is not None]
    return fitting or [program.unknown(e)]


def _diagnosis(e: Evidence, found: list[Cause]) -> Diagnosis:
    cause, *others = found
    told = cause.kind in DECIDED
    also = [other for other in others if told or other.kind not in GENERAL]
    return Diagnosis(
        e.record.name, e.state, e.folder.root, cause, tuple(also[:ALSO]), standing.notes(e)
    )


def failure(folder: RunFolder, record: Record, found: Status) -> Failure:
    """Return the first line of `why` of a run that failed or was ended, for `status`."""
    e = evidence(folder, record, found)
    cause = causes(e)[0]
    place: Path | None = next((clue.file for clue in cause.evidence if clue.file), e.log.file)
    return Failure(cause.headline, cause.rank, cause.host, place)
