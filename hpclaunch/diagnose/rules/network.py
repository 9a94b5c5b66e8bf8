"""Ranks that waited for each other in vain, lost each other, or never met."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.ranks import host_names
from hpclaunch.diagnose.rules import advice

_RANK = re.compile(r"\bRank (\d+)\]")
_OPERATION = re.compile(r"SeqNum=(\d+), OpType=(\w+)")
_RAN = re.compile(r"ran for (\d+) milliseconds|Timed out waiting (\d+)ms|in (\d+) ms|after (\d+)ms")
_ENQUEUED = re.compile(r"last enqueued (?:NCCL )?work: (-?\d+)")
_BARRIER = re.compile(r"Rank (\d+) failed to pass monitoredBarrier")
_KEY = re.compile(r"wait timeout after \d+ms, keys: \S*/(\d+)$")
_JOINED = re.compile(r"(\d+)/(\d+) clients joined")
_PEER = re.compile(r"\[([\w.:]+)\]:(\d+)")
_PORT = re.compile(r"port: (\d+)")


def timeout(e: Evidence) -> Cause | None:
    """A collective waited its time out: one rank was slow, stuck or dead."""
    if e.explained or _silent(e):
        return None
    lines = e.hits("watchdog", "barrier", "gloo_timeout")
    if not lines:
        return None
    line = lines[0]
    late, why = _late(e, lines)
    what = _OPERATION.search(line.text)
    ran = _RAN.search(line.text)
    waited = next((int(group) for group in ran.groups() if group), 0) / 1000 if ran else 0
    headline = "a collective timed out"
    headline += f" ({what.group(2).lower()} number {what.group(1)})" if what else ""
    headline += f" after {waited:g} s" if waited else ""
    if late:
        named = ", ".join(map(str, late[:4]))
        headline += f"; rank {named} {why}" if len(late) == 1 else f"; ranks {named} {why}"
    else:
        headline += "; the ranks do not say which of them was late"
    rank = late[0] if len(late) == 1 else None
    option = (
        "timeout= of init_process_group" if e.record.program else "training.ddp_timeout=SECONDS"
    )
    steps = (
        advice.logs(e, rank),
        f"where the ranks' own work takes longer than the time-out: {option}",
        "where a node or its network is slow: hpclaunch report compares the nodes",
        advice.resume(e),
    )
    shown = (*lines[:3], *e.hits("enqueued")[:2], *e.nccl[:2])
    return Cause("collective-timeout", headline, steps, shown, rank, _host(e, rank))


def _silent(e: Evidence) -> bool:
    """A rank was killed: the others only waited for it."""
    rank = e.culprit
    return rank is not None and rank.silent and not rank.follows


def _late(e: Evidence, lines: Iterable[Clue]) -> tuple[list[int], str]:
    """Return the ranks that the others waited for, as far as the texts tell, and how that shows."""
    for line in lines:
        match = _BARRIER.search(line.text)
        if match:
            return [int(match.group(1))], "did not reach the barrier"
    work = {}
    for line in e.hits("enqueued"):
        who, number = _RANK.search(line.text), _ENQUEUED.search(line.text)
        if who and number:
            work[int(who.group(1))] = int(number.group(1))
    behind = [rank for rank, number in work.items() if number < max(work.values())]
    if behind and len(behind) <= len(work) / 2:
        return sorted(behind), "had begun fewer collectives than the others"
    waited = {_waiting(e, line) for line in e.hits("watchdog", "gloo_timeout")} - {None}
    if waited:  # who lost a peer afterwards was alive, and at the collective too
        waited |= {rank.rank for rank in e.ranks if rank.follows and not rank.silent}
    world = e.record.nodes * e.record.processes_per_node
    quiet = sorted(set(range(min(world, 65536))) - waited)
    if waited and quiet and len(quiet) <= max(1, world // 4):
        return quiet, "never said that it waited" if len(quiet) == 1 else "never said they waited"
    return [], ""


def _waiting(e: Evidence, line: Clue) -> int | None:
    match = _RANK.search(line.text)
    return int(match.group(1)) if match else e.where(line)[0]


def _host(e: Evidence, rank: int | None) -> str | None:
    names = host_names(e.folder)
    node = None if rank is None else rank // max(1, e.record.processes_per_node)
    return names[node] if node is not None and node < len(names) else None


def not_met(e: Evidence) -> Cause | None:
    """The ranks never came together at the start."""
    if e.explained or _silent(e):
        return None
    line = next(iter(e.hits("store_timeout")), None)
    if line is None:
        refused = e.said("network")
        if refused is None or e.progress.step is not None:
            return None
        line = refused
    key, joined = _KEY.search(line.text), _JOINED.search(line.text)
    rank = int(key.group(1)) if key else None
    headline = "the ranks did not find each other"
    if rank is not None:
        headline = "this rank never joined the others"
    elif joined:
        headline += f": {joined.group(1)} of {joined.group(2)} came"
    steps = [advice.logs(e, rank)]
    if e.record.nodes > 1:
        steps.append("where nodes reach each other by one interface only: interface: NAME in the "
                     "site profile")  # fmt: skip
    steps.append(advice.resume(e))
    return Cause("not-met", headline, tuple(steps), (line, *e.nccl[:2]), rank, _host(e, rank))


def port(e: Evidence) -> Cause | None:
    """Another program listens at the port where the ranks were to meet."""
    line = e.said("port_taken")
    if line is None:
        return None
    match = _PORT.search(line.text)
    which = f"port {match.group(1)}" if match else "a port of the job"
    rank, host = e.where(line)
    steps = (advice.resume(e), "choose another: --port NUMBER (by default from the job id)")
    return Cause("port-taken", f"{which} is taken by another program", steps, (line,), rank, host)


def peer(e: Evidence) -> Cause | None:
    """A rank lost its connection to another one, and nothing says why that one ended."""
    lines = e.hits("peer_lost")
    rank = e.culprit
    if e.explained or _silent(e) or not (lines or (rank and rank.follows)):
        return None
    match = _PEER.search(lines[0].text) if lines else None
    where = f" at {match.group(1)}" if match and not match.group(1).startswith("127.") else ""
    number, host = (rank.rank, rank.host) if rank else e.where(lines[0])
    evidence = (*lines[:3], *e.nccl[:2]) or ((rank.clue(),) if rank else ())
    steps = (
        advice.logs(e),
        "a rank that ends without a word was most often killed: look for it on its node",
        advice.resume(e),
    )
    headline = f"lost the connection to another rank{where}, which left no word"
    return Cause("peer-lost", headline, steps, evidence, number, host)
