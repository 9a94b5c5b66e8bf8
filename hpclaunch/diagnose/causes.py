"""The causes of a failure: the first rule that fits, the root before what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

from hpclaunch.diagnose.cause import Cause, Diagnosis, masked
from hpclaunch.diagnose.failure import Failure
from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.registry import CAUSES, NO_FAILURE, UNKNOWN
from hpclaunch.diagnose.rules import no_failure
from hpclaunch.diagnose.rules.one_line import shown_by_a_line
from hpclaunch.diagnose.run_evidence import RunEvidence, gather
from hpclaunch.diagnose.state import Status
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.secrets import mask

Rule = Callable[[RunEvidence], Cause | None]

MOST_ALSO = 3
"""Most causes that are shown as seen beside the first."""


def gather_evidence(folder: RunFolder, record: Record, status: Status) -> RunEvidence:
    """Read all that a run whose state is known has left. Never raises for what a file holds."""
    evidence = gather(
        folder, record, status.state, status.slurm or "", status.reason, status.exit_code,
        status.progress,
    )  # fmt: skip
    return replace(evidence, activity=status.activity)


def rule_of(known: KnownCause) -> Rule:
    """Return the function that an entry of the registry names; AttributeError if there is none."""
    if known.headline:
        return partial(shown_by_a_line, known)
    module, _, function = known.rule.partition(".")
    rules = import_module(f"hpclaunch.diagnose.rules.{module}")
    return cast(Rule, getattr(rules, function))


def diagnose(evidence: RunEvidence) -> Diagnosis:
    """Return the cause, and what was seen beside it."""
    (first, cause), *others = _fitting_causes(evidence)
    also = [other for known, other in others if first.decided or not known.general]
    notes = tuple(mask(note) for note in no_failure.notes(evidence))
    return Diagnosis(
        evidence.record.name, evidence.state, evidence.folder.root, cause,
        tuple(also[:MOST_ALSO]), notes,
    )  # fmt: skip


def first_cause(evidence: RunEvidence) -> Cause:
    """Return the cause alone: the first rule that fits."""
    return _fitting_causes(evidence)[0][1]


def _fitting_causes(evidence: RunEvidence) -> list[tuple[KnownCause, Cause]]:
    """Return every cause that fits, the root first; never none."""
    state = next(_fits(NO_FAILURE, evidence), None)
    if state is not None:
        return [state]
    return list(_fits(CAUSES, evidence)) or list(_fits([UNKNOWN], evidence))


def _fits(
    known_causes: Iterable[KnownCause], evidence: RunEvidence
) -> Iterator[tuple[KnownCause, Cause]]:
    for known in known_causes:
        cause = rule_of(known)(evidence)
        if cause is not None:
            yield known, masked(replace(cause, kind=known.kind))


def failure(folder: RunFolder, record: Record, status: Status) -> Failure:
    """Return the first line of `why` of a run that failed or was ended, for `status`."""
    evidence = gather_evidence(folder, record, status)
    cause = first_cause(evidence)
    shown = next((clue.file for clue in cause.evidence if clue.file), None)
    place: Path | None = shown or evidence.log.file
    return Failure(cause.headline, cause.rank, cause.host, place)
