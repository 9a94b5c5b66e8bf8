"""`why` names the right cause of every failure log, whatever noise stands around it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.diagnose.cause import Diagnosis
from tests.diagnose.variants import after_noise, without_own_logs
from tests.diagnose.verdicts import Case, all_cases, judge, table

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


# The whole corpus takes half a minute a time: `make verdicts` tries these ways with each log.
def test_what_was_survived_before_is_no_cause(cases: list[Case]) -> None:
    assert wrong(judge(after_noise(cases[::4]))) == []


def test_the_jobs_log_alone_will_do(cases: list[Case]) -> None:
    assert wrong(judge(without_own_logs(cases[2::4]))) == []


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
