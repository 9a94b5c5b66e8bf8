"""`python -m tests.fuzz [SECONDS]`: fuzz until the time is over; 1 where something was found."""

from __future__ import annotations

import random
import sys
import time

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from tests.fuzz.campaign import prepared
from tests.fuzz.mutations import Mutation

ROUND = 40
"""Cases of a round; a failure ends it, and is made as small as it goes."""


def main(seconds: float) -> int:
    """Run rounds of cases with seeds of their own; returns how many rounds found something."""
    began, cases, found = time.monotonic(), 0, 0
    with prepared() as (check, strategy):
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
                nonlocal cases
                if time.monotonic() - began > seconds + 60:
                    return
                cases += 1
                check(drawn)

            try:
                one_round()
            except AssertionError as error:
                found += 1
                notes = "\n".join(getattr(error, "__notes__", ()))
                print(f"seed {number}:\n{error}\n{notes}\n", flush=True)
    took = time.monotonic() - began
    print(f"{cases} cases in {took:.0f} s; {found} rounds found something")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0))
