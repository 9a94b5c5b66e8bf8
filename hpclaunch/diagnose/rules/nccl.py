"""NCCL: no interface, links of InfiniBand that fail, two versions, calls that never return."""

from __future__ import annotations

import re
from dataclasses import replace

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_STUCK = re.compile(r"got stuck for (\d+) seconds")
_RANK = re.compile(r"\bRank (\d+)\]")
_SET = re.compile(r"NCCL_SOCKET_IFNAME set (?:by environment )?to (\S+)")


def no_interface(evidence: RunEvidence) -> Cause | None:
    """NCCL or gloo found no network interface of the name it was given."""
    line = evidence.root_cause_line("no_interface") or evidence.nccl_line("no_interface")
    if line is None:
        return None
    context = b"".join(rank.context for rank in evidence.speakers[:1])
    named = _SET.search(context.decode("utf-8", errors="replace"))
    which = f" (NCCL_SOCKET_IFNAME={named[1]})" if named else ""
    steps = (
        "which interfaces the node has: ip -brief address; NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME "
        "and `interface` in the site profile must name one that every node has, or none",
    )
    headline = f"NCCL found no network interface to use{which}"
    return advice.cause(evidence, line, headline, *steps)


def no_plugin(evidence: RunEvidence) -> Cause | None:
    """NCCL's plugin for the fast network could not start, or its device is not there."""
    line = evidence.root_cause_line("no_plugin")
    if line is None:
        return None
    context = b"".join(rank.context for rank in evidence.speakers[:1])
    before = evidence.context_line("no_provider") or evidence.nccl_line("no_provider")
    efa = re.search(rb"efa|OFI", context) or (before and re.search("efa|OFI", before.text))
    steps = (
        "see the adapter from within the job, and from within its container: "
        + ("fi_info -p efa" if efa else "ibv_devinfo") + "; ls /dev/infiniband",
        "NCCL_NET names a network that is not there, or LD_LIBRARY_PATH another plugin than the "
        "node's: env | grep -E 'NCCL|FI_'; NCCL_NET=Socket goes on over TCP, slowly",
    )  # fmt: skip
    headline = f"NCCL could not start its network: {_message(line)}"
    found = advice.cause(evidence, line, headline, *steps)
    return replace(found, evidence=(*([before] if before else []), line))


def versions(evidence: RunEvidence) -> Cause | None:
    """Ranks use different versions of NCCL."""
    line = evidence.root_cause_line("nccl_versions") or evidence.nccl_line("nccl_versions")
    if line is None and "NCCL" in evidence.last_words:
        line = evidence.context_line("nccl_versions")
    if line is None:
        return None
    numbers = re.findall(r"version (\d)(\d\d)(\d\d)\b", line.text)
    named = " and ".join(f"{a}.{int(b)}.{int(c)}" for a, b, c in numbers)
    steps = (
        "all nodes must use one environment, on shared storage; a module on some of them, or "
        "LD_LIBRARY_PATH, brings another NCCL than PyTorch's own",
    )
    if "Invalid config" in line.text:
        headline = f"PyTorch meets another NCCL than it was built with: {line.text}"
        own = "LD_LIBRARY_PATH or LD_PRELOAD brings another libnccl.so than PyTorch's own: a module"
        return advice.cause(evidence, line, headline, f"{own} of the site, or NCCL's own package")
    headline = f"the ranks use different versions of NCCL{f': {named}' if named else ''}"
    return advice.cause(evidence, line, headline, *steps)


def infiniband(evidence: RunEvidence) -> Cause | None:
    """A link, adapter or peer on InfiniBand failed, as NCCL met it."""
    if evidence.explained or _killed(evidence):
        return None
    line = evidence.root_cause_line("infiniband") or evidence.context_line("infiniband")
    line = line or evidence.nccl_line("infiniband")
    if line is None:
        return None
    rank, host = evidence.rank_and_host(line)
    steps = (
        "the links between the job's nodes: hpclaunch preflight; on the node: ibstat, and the "
        "counters of its port",
        "tell your site's support if it comes again on the same node"
        + (f" (--exclude {advice.word(host)} leaves it out)" if host else ""),
        advice.resume(evidence),
    )
    headline = f"the fast network (InfiniBand, Slingshot) failed between nodes: {_message(line)}"
    return Cause(headline, steps, (line, *evidence.nccl[:2]), rank, host)


def stuck_call(evidence: RunEvidence) -> Cause | None:
    """A call into NCCL or CUDA did not return: the watchdog itself hung."""
    if evidence.explained or _killed(evidence):
        return None
    line = evidence.root_cause_line("stuck_call")
    if line is None:
        return None
    seconds, named = _STUCK.search(line.text), _RANK.search(line.text)
    waited = f" for {seconds[1]} s" if seconds else ""
    rank, host = evidence.rank_and_host(line)
    rank = int(named[1]) if named else rank
    texts = [failed.text for failed in evidence.ranks]
    if len(texts) > 1 and all(patterns.has("stuck_call", text) for text in texts):
        rank, host = None, None  # all of them hung: none is known to have begun
    steps = (
        "what the ranks did: TORCH_NCCL_TRACE_BUFFER_SIZE=2000 and TORCH_NCCL_DUMP_ON_TIMEOUT=1 in "
        "the job; py-spy dump on the node while it hangs",
        "see the nodes' GPUs for Xid errors (dmesg), and whether a thread holds Python's lock in a "
        "call of CUDA",
        advice.resume(evidence),
    )
    headline = f"a call into NCCL or CUDA hung{waited}: its watchdog had no heartbeat"
    return Cause(headline, steps, (line,), rank, host)


def _killed(evidence: RunEvidence) -> bool:
    """A rank was killed: the others only lost it."""
    rank = evidence.culprit
    return rank is not None and rank.silent and not rank.is_collateral


def _message(line: Clue) -> str:
    return re.sub(r"^.*NCCL WARN ", "", line.text).removeprefix("Last error: ")
