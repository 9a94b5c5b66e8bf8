"""The registry of causes: every entry has a rule, and a story in which that rule is the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpclaunch.diagnose.causes import rule_of
from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.registry import CAUSES, NO_FAILURE, PHRASES, UNKNOWN
from hpclaunch.run.folder import RunFolder
from tests.diagnose.failed_runs import FailedRun, gathered
from tests.diagnose.stories import STORIES
from tests.diagnose.verdicts import cases


def first_rules(root: Path) -> Iterator[str]:
    """Yield the rule that is the first to fit, of each story and each failure log."""
    for at, (failed_run, *_) in enumerate(STORIES.values()):
        (root / str(at)).mkdir()
        failed_run.write(RunFolder(root / str(at)))
        yield first_rule(RunFolder(root / str(at)), failed_run)
    for at, case in enumerate(cases()):
        yield first_rule(case.write(root / f"case-{at}"), case.run)


def first_rule(folder: RunFolder, failed_run: FailedRun) -> str:
    evidence = gathered(folder, failed_run)
    return next(known for known in (*CAUSES, UNKNOWN) if rule_of(known)(evidence)).name


def test_every_rule_has_a_story(tmp_path: Path) -> None:
    first = set(first_rules(tmp_path))
    silent = {known.name for known in (*CAUSES, UNKNOWN)} - first
    assert not silent, "add the log of a case to tests/diagnose/failure_logs/FAMILY.txt"


@pytest.mark.parametrize("known", [*NO_FAILURE, *CAUSES, UNKNOWN], ids=lambda known: known.name)
def test_every_entry_names_a_rule(known: KnownCause) -> None:
    assert callable(rule_of(known))


def test_every_rule_is_in_the_registry() -> None:
    entries = {known.name for known in (*NO_FAILURE, *CAUSES, UNKNOWN)} | {
        "one_line.shown_by_a_line",
        "advice.cause",
    }
    assert set(rules_in_the_package()) - entries == set()


def rules_in_the_package() -> Iterator[str]:
    """Find the public functions of `diagnose/rules` that return a cause."""
    import hpclaunch.diagnose.rules as package

    for path in Path(package.__path__[0]).glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith("def ") and not line.startswith("def _") and "-> Cause" in line:
                yield f"{path.stem}.{line.removeprefix('def ').partition('(')[0]}"


def test_no_phrase_belongs_to_two_causes() -> None:
    named = [name for cause in CAUSES for name in cause.phrases]
    assert len(named) == len(set(named))
    texts = [text for phrases in PHRASES.values() for text in phrases.texts]
    assert sorted(texts) == sorted(set(texts))
