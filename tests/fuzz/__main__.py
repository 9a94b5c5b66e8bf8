"""`python -m tests.fuzz [SECONDS [folders|checkpoints]]`: fuzz; 1 where something was found.

Half of the time goes to commands on run folders, half to the training's readers of checkpoints.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import AbstractContextManager

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from tests.fuzz import campaign
from tests.fuzz.campaign import Check
from tests.fuzz.mutations import Mutation

ROUND = 40
"""Cases of a round; a failure ends it, and is made as small as it goes."""

Prepared = AbstractContextManager[tuple[Check, st.SearchStrategy[list[Mutation]]]]


def fuzz(what: str, prepared: Prepared, seconds: float) -> int:
    """Run rounds of cases with seeds of their own; returns how many rounds found something."""
    began, cases, found, peak = time.monotonic(), 0, 0, 0
    with prepared as (check, strategy):
        while time.monotonic() - began < seconds:
            number = random.SystemRandom().randrange(1 << 32)

            @seed(number)
            @given(strategy)
            @settings(
                max_examples=ROUND,
                deadline=None,
                database=None,
                print_blob=False,
                verbosity=Verbosity.quiet,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            )
            def one_round(drawn: list[Mutation]) -> None:
                nonlocal cases, peak
                if time.monotonic() - began > seconds + 60:
                    return
                cases += 1
                peak = max(peak, check(drawn))

            try:
                one_round()
            except (AssertionError, Flaky) as error:  # Flaky: the time was over while it shrank
                found += 1
                notes = "\n".join(getattr(error, "__notes__", ()))
                print(f"seed {number}:\n{error}\n{notes}\n", flush=True)
    took = time.monotonic() - began
    print(
        f"{what}: {cases} cases in {took:.0f} s, {peak >> 20} MiB at most; "
        f"{found} rounds found something",
        flush=True,
    )
    return found


def main(seconds: float, what: str) -> int:
    """Fuzz run folders, checkpoints, or both; returns the exit code."""
    found = 0
    share = seconds / 2 if not what else seconds
    if what in {"", "folders"}:
        found += fuzz("run folders", campaign.prepared(), share)
    if what in {"", "checkpoints"}:
        from tests.fuzz import checkpoints

        found += fuzz("checkpoints", checkpoints.prepared(), share)
    return 1 if found else 0


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *("600", "")[len(sys.argv) - 1 :]]
    sys.exit(main(float(arguments[0]), arguments[1]))
