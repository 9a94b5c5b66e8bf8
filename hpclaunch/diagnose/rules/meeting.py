"""Ranks that never met: a name, a port, a way to the first node that was not there."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.log import PROGRESS
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.network import host_of, is_killed
from hpclaunch.diagnose.run_evidence import RunEvidence

_KEY = re.compile(r"wait timeout after \d+ms, keys: \S*/(\d+)$")
_JOINED = re.compile(
    r"(?P<came>\d+)/(?P<all>\d+) clients joined"
    r"|world_size=(?P<world>\d+), worker_count=(?P<here>\d+)"
)
_UNRESOLVED = re.compile(r"addresses of \(([\w.-]+), \d+\) cannot be retrieved \(gai error")
_PORT = re.compile(r"port: (\d+)|\]:(\d+) \(errno: 98|:(\d+)\D*ddress already in use")
_FIRST = re.compile(r"trying to connect to \(([\w.:-]+), (\d+)\)")
_BUSY = re.compile(r"\d+%\|.*(?:B/s|it/s|s/it|examples/s)|\d examples \[")
"""A progress bar of what comes before the ranks meet."""
_REASON = re.compile(r"No route to host|Network is unreachable|Connection refused")


def not_met(evidence: RunEvidence) -> Cause | None:
    """The ranks never came together at the start."""
    if evidence.explained or is_killed(evidence):
        return None
    late = evidence.root_cause_line("store_timeout")
    line = late or evidence.root_cause_line("network")
    if line is None or (late is None and evidence.progress.step is not None):
        return None
    unresolved = _UNRESOLVED.search(line.text)
    if unresolved:
        return _unresolved(evidence, line, unresolved[1])
    if late and evidence.progress.step is None:
        unconnected = _unconnected(evidence, line)
        if unconnected:
            return unconnected
    key, joined = _KEY.search(line.text), _JOINED.search(line.text)
    ranks = evidence.record.nodes * evidence.record.processes_per_node
    rank = int(key.group(1)) if key and int(key.group(1)) < ranks else None
    headline = "the ranks did not find each other"
    if late and (evidence.progress.step is not None or PROGRESS.search(evidence.log.text)):
        headline = "a rank waited in vain for another one"
    if rank is not None:
        headline = "this rank never joined the others"
    elif joined:
        came, world = joined["came"] or joined["here"], joined["all"] or joined["world"]
        headline += f": {came} of {world} came"
    steps = [advice.logs(evidence, rank)]
    busy = () if rank is None else filter(_BUSY.search, evidence.last_lines(rank))
    did = next(iter(busy), "")
    if did:
        headline += f", it was still busy: {did[:160]}"
        steps.append(
            "what takes longer than the others wait belongs before the job: hpclaunch fetch, "
            "prepare; or a longer timeout= of init_process_group"
        )
    elif evidence.record.nodes > 1:
        steps.append(
            "where nodes reach each other by one interface only: `interface` in the site profile "
            "names it"
        )
    steps.append(advice.resume(evidence))
    culprit = evidence.culprit
    shown = (line, *evidence.nccl[:2])
    if culprit is not None and "Last error: " in culprit.error:
        shown = (*shown, culprit.clue())
    return Cause(headline, tuple(steps), shown, rank, host_of(evidence, rank))


def _unconnected(evidence: RunEvidence, line: Clue) -> Cause | None:
    """A node does not get through to the first node, as its own lines say."""
    first = _FIRST.search(line.text)
    _, node = evidence.rank_and_host(line)
    if first is None or node is None:
        return None
    why = [other for other in evidence.matching_lines("network") if first[1] in other.text]
    reason = next((match[0] for other in why if (match := _REASON.search(other.text))), "")
    headline = f"{node} did not get through to the first node ({first[1]}, port {first[2]})"
    steps = (
        f"from that node: ip route get {first[1]}; ping {first[1]}",
        "where nodes reach each other by one interface only: `interface` in the site profile names "
        "it",
        advice.elsewhere(evidence, node),
    )
    headline += f": {reason}" if reason else ""
    return Cause(headline, steps, (line, *why[:1]), *advice.who(evidence, line))


def _unresolved(evidence: RunEvidence, line: Clue, first: str) -> Cause:
    """A node does not find the address of the first node."""
    rank, node = advice.who(evidence, line)
    headline = f"{node or 'a node'} cannot resolve the name of the first node ({first})"
    steps = (
        f"on that node: getent hosts {first}; tell your site's support",
        "another name or network for it: `interface` in the site profile",
        advice.elsewhere(evidence, node),
    )
    return Cause(headline, steps, (line,), rank, node)


_MEETING = re.compile(
    r"torch/distributed|torch\.distributed|TCPStore|[Rr]endezvous|init_process_group|MASTER_PORT"
    r"|server socket|Dist\w+Error|no free port|accelerate|deepspeed|gloo|NCCL"
)
"""It was a port at which ranks meet."""


def port(evidence: RunEvidence) -> Cause | None:
    """Another program listens at the port where the ranks were to meet."""
    line = evidence.root_cause_line("port_taken")
    if line is None:
        return None
    match = _PORT.search(line.text)
    number = next((group for group in match.groups() if group), "") if match else ""
    which = f"port {number}" if number else "a port of the job"
    rank, host = evidence.rank_and_host(line)
    if evidence.explained and not _MEETING.search(evidence.last_words):
        steps = (
            "every rank of a node opens the same port where its number is fixed: add LOCAL_RANK to "
            "it, or let rank 0 alone open it",
            advice.resume(evidence),
        )
        number = f" {number}" if number else ""
        headline = f"a port{number} that the program opens is taken: {line.text}"
        return Cause(headline, steps, (line,), rank, host)
    steps = (advice.resume(evidence), "--port chooses another")
    return Cause(f"{which} is taken by another program", steps, (line,), rank, host)
