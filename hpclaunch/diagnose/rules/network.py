"""Ranks that waited for each other in vain, lost each other, or never met."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_RANK = re.compile(r"\bRank (\d+)\]")
_OPERATION = re.compile(r"SeqNum=(\d+), OpType=(\w+)")
_GROUP = re.compile(r"PG (?:ID \d+|GUID \S+)")
_RAN = re.compile(r"ran for (\d+) milliseconds|Timed out waiting (\d+)ms|in (\d+) ms|after (\d+)ms")
_ENQUEUED = re.compile(r"last enqueued (?:NCCL )?work: (-?\d+)")
_BARRIER = re.compile(r"Rank (\d+) failed to pass monitoredBarrier")
_PEER = re.compile(r"\[([\w.:]+)\]:(\d+)")
_UNREACHABLE = re.compile(
    r"connect to ([\d.]+|\[[\w:]+\])<\d+>.*(No route to host|Network is unreachable)"
)


def timeout(evidence: RunEvidence) -> Cause | None:
    """A collective waited its time out: one rank was slow, stuck or dead."""
    if evidence.explained or is_killed(evidence):
        return None
    lines = evidence.matching_lines("watchdog", "barrier", "gloo_timeout")
    if not lines:
        return None
    line = lines[0]
    late, why = _late(evidence, lines)
    what = _OPERATION.search(line.text)
    ran = _RAN.search(line.text)
    waited = next((int(group) for group in ran.groups() if group), 0) / 1000 if ran else 0
    headline = "a collective timed out"
    headline += f" ({what.group(2).lower()} number {what.group(1)})" if what else ""
    headline += f" after {waited:g} s" if waited else ""
    other = _in_another(lines)
    if other:
        late = [other[0]]
        headline = (
            f"a collective timed out: rank {other[0]} was in {other[1]} number {other[3]} where "
            f"the others were in {other[2]}: the ranks of the program take different ways"
        )
    elif late:
        named = ", ".join(map(str, late[:4]))
        headline += f"; rank {named} {why}" if len(late) == 1 else f"; ranks {named} {why}"
    else:
        headline += "; the ranks do not say which of them was late"
    rank = late[0] if len(late) == 1 else None
    option = (
        "timeout= of init_process_group"
        if evidence.record.program
        else f"training.ddp_timeout={_longer(evidence)}"
    )
    steps = (
        advice.logs(evidence, rank),
        f"where the ranks' own work takes longer than the time-out: {option}",
        "where a node or its network is slow: hpclaunch report compares the nodes",
        advice.resume(evidence),
    )
    shown = (*lines[:3], *evidence.matching_lines("enqueued")[:2], *evidence.nccl[:2])
    return Cause(headline, steps, shown, rank, host_of(evidence, rank))


def _in_another(lines: Iterable[Clue]) -> tuple[int, str, str, str] | None:
    """Return the one rank that waits in another operation, its one, theirs, and their number.

    Groups of ranks number their collectives each for itself: only one group's are compared.
    """
    seen: dict[tuple[str, str], dict[int, str]] = {}
    for line in lines:
        who, what = _RANK.search(line.text), _OPERATION.search(line.text)
        if who and what:
            group = _GROUP.search(line.text)
            of_group = seen.setdefault((group[0] if group else "", what[1]), {})
            of_group.setdefault(int(who[1]), what[2].lower())
    for (_, number), operations in seen.items():
        (theirs, most), *others = Counter(operations.values()).most_common()
        if most >= 2 and len(others) == 1 and others[0][1] == 1:
            rank = next(rank for rank, name in operations.items() if name != theirs)
            return rank, others[0][0], theirs, number
    return None


def _longer(evidence: RunEvidence) -> int:
    """Return three times the time-out that the training had, in seconds."""
    timeout = advice.training(evidence).get("ddp_timeout")
    return 3 * timeout if isinstance(timeout, int) and not isinstance(timeout, bool) else 5400


def is_killed(evidence: RunEvidence) -> bool:
    """Whether a rank was killed: the others only waited for it."""
    rank = evidence.culprit
    return rank is not None and rank.silent and not rank.is_collateral


def _late(evidence: RunEvidence, lines: Iterable[Clue]) -> tuple[list[int], str]:
    """Return the ranks that the others waited for, as far as the texts tell, and how that shows."""
    for line in lines:
        match = _BARRIER.search(line.text)
        if match:
            return [int(match.group(1))], "did not reach the barrier"
    work = {}
    for line in evidence.matching_lines("enqueued"):
        who, number = _RANK.search(line.text), _ENQUEUED.search(line.text)
        if who and number:
            work[int(who.group(1))] = int(number.group(1))
    behind = [rank for rank, number in work.items() if number < max(work.values())]
    if behind and len(behind) <= len(work) / 2:
        return sorted(behind), "had begun fewer collectives than the others"
    timed_out = evidence.matching_lines("watchdog", "gloo_timeout")
    waited = {_waiting(evidence, line) for line in timed_out} - {None}
    if waited:  # who lost a peer afterwards was alive, and at the collective too
        waited |= {rank.rank for rank in evidence.ranks if rank.is_collateral and not rank.silent}
    world = evidence.record.nodes * evidence.record.processes_per_node
    quiet = sorted(set(range(min(world, 65536))) - waited)
    if waited and quiet and len(quiet) <= max(1, world // 4):
        return quiet, "never said that it waited" if len(quiet) == 1 else "never said they waited"
    return [], ""


def _waiting(evidence: RunEvidence, line: Clue) -> int | None:
    match = _RANK.search(line.text)
    return int(match.group(1)) if match else evidence.rank_and_host(line)[0]


def host_of(evidence: RunEvidence, rank: int | None) -> str | None:
    """Return the node of a rank; None where it is not known."""
    return None if rank is None else advice.host_of_rank(evidence, rank)


def peer(evidence: RunEvidence) -> Cause | None:
    """A rank lost its connection to another one, and nothing says why that one ended."""
    rank = evidence.culprit
    lines = evidence.matching_lines("peer_lost")
    if rank is None:
        lines = tuple(filter(evidence.log.is_at_end, lines))
    if evidence.explained or is_killed(evidence) or not (lines or (rank and rank.is_collateral)):
        return None
    match = _PEER.search(lines[0].text) if lines else None
    where = f" at {match.group(1)}" if match and not match.group(1).startswith("127.") else ""
    number, host = (rank.rank, rank.host) if rank else evidence.rank_and_host(lines[0])
    shown_lines = (*lines[:3], *evidence.nccl[:2])
    if rank is not None and (not shown_lines or "Last error: " in rank.error):
        shown_lines = (*shown_lines, rank.clue())
    gone = _UNREACHABLE.search(rank.error if rank else evidence.last_words)
    if gone:
        headline = f"the node at {gone[1]} can no longer be reached: {gone[2]}"
        state = "what became of it: sinfo --Node --long, and your site's support"
        return Cause(headline, (state, advice.resume(evidence)), shown_lines, number, host)
    steps = (
        advice.logs(evidence),
        "a rank that ends without a word was most often killed: look for it on its node",
        advice.resume(evidence),
    )
    headline = f"lost the connection to another rank{where}, which left no word"
    return Cause(headline, steps, shown_lines, number, host)
