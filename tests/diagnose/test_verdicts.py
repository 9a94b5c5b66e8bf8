"""`why` names the right cause of every failure log, whatever noise stands around it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.diagnose.cause import Diagnosis
from tests.diagnose.verdicts import Case, all_cases, judge, table

NOISE = """\
*|WARNING: apex is not installed: ModuleNotFoundError: No module named 'apex'
*|/home/ada/venv/lib/python3.11/site-packages/torch/utils/cpp_extension.py:9: UserWarning: old
*|[W1121 03:01:01.1 socket.cpp:764] [c10d] The client socket has failed to connect to [node1]:31 \
(errno: 111 - Connection refused).
0.0|wandb: Network error (ConnectTimeout), entering retry loop.
0.0|requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.wandb.ai', port=443): Max \
retries exceeded with url: /graphql
/etc/profile.d/colours.sh: line 3: tput: command not found
/var/spool/slurmd/job00008/slurm_script: line 18: nvidia-smi: command not found
*>{'loss': 1.9, 'epoch': 0.1}
1|[ 12.331] NVRM: Xid (PCI:0000:c1:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: pending
1|[ 13.331] NVRM: Xid (PCI:0000:c1:00): 31, pid=81, name=python, Ch 0000000a
*|Permission denied: /proc/1/environ, going on
0.1|CUDA out of memory, trying a smaller batch: OSError: [Errno 28] No space left on device
*>{'loss': 1.8, 'epoch': 0.2}
*>{'loss': 1.7, 'epoch': 0.3}
*>{'loss': 1.6, 'epoch': 0.4}
"""
"""What was met, and survived, before."""
PLACEHOLDERS = re.compile(r"\b(?:NAME|FOLDER|KIND|SECONDS|NUMBER|HH|FILE|MODEL|PATH|N|ID)\b(?!=)")


Judged = list[tuple[Case, str, Diagnosis]]


def wrong(judged: Judged) -> list[str]:
    return [
        f"{verdict}: {case.name}: [{found.cause.kind}] {found.cause.line}"
        for case, verdict, found in judged
        if verdict != "right"
    ]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return all_cases()


@pytest.fixture(scope="module")
def judged(cases: list[Case]) -> Judged:
    return judge(cases)


def test_there_are_enough_cases_of_different_failures(cases: list[Case]) -> None:
    assert len(cases) >= 120
    assert len({case.name for case in cases}) == len(cases)
    assert len({kind for case in cases for kind in case.right}) > 50


def test_every_cause_is_named(judged: Judged) -> None:
    assert wrong(judged) == []


def test_what_was_survived_before_is_no_cause(cases: list[Case]) -> None:
    assert wrong(judge([replace(case, log=_with_noise(case.log)) for case in cases])) == []


def _with_noise(log: str) -> str:
    """Return a log with the noise before it, but for the line that begins an attempt."""
    first, _, rest = log.partition("\n")
    return f"{first}\n{NOISE}{rest}" if first.startswith("hpclaunch: job") else NOISE + log


def test_the_jobs_log_alone_will_do(cases: list[Case]) -> None:
    """Ranks' own logs may lie on another disk, or be gone."""
    assert wrong(judge([replace(case, own_logs=False) for case in cases])) == []


def test_no_advice_has_a_placeholder(judged: Judged) -> None:
    for case, _, found in judged:
        for step in (*found.cause.advice, *(line for each in found.also for line in each.advice)):
            assert not PLACEHOLDERS.search(step), (case.name, step)


def test_the_table_counts_every_case(judged: Judged) -> None:
    text = table(judged[:20])
    assert text.splitlines()[-1].startswith("| all | 20 | 20 | 0 | 0 |")


def test_a_wrong_cause_is_seen_as_wrong(tmp_path: Path) -> None:
    case = next(case for case in all_cases() if case.right == ("gpu-memory",))
    found = case.ask(tmp_path)
    assert case.verdict(found) == "right"
    assert replace(case, right=("quota",)).verdict(found) == "wrong"
    assert replace(case, rank=2 if case.rank != 2 else 1).verdict(found) == "wrong"
    general = replace(found, cause=replace(found.cause, kind="exception"))
    assert case.verdict(general) == "unknown"
