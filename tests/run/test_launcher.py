"""What of a launcher's own words reaches the screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.run.launcher import LauncherFilter
from hpclaunch.run.lines import parse_line

FAILED = """\
0: [cpu1]:about to fail
0: [cpu1]:Traceback (most recent call last):
0: [cpu1]:  File "/home/me/train.py", line 4, in <module>
0: [cpu1]:ValueError: rank says no
0: W1121 06:58:36.683000 7706 torch/distributed/elastic/multiprocessing/api.py:1028] Sending
0: E1121 06:58:36.884000 7706 torch/distributed/elastic/multiprocessing/api.py:1002] failed
0: Traceback (most recent call last):
0:   File "/venv/bin/accelerate", line 6, in <module>
1: the other node goes on
0:     sys.exit(main())
0:              ^^^^^^
0: torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
0: ============================================================
0: train.py FAILED
0: ------------------------------------------------------------
0: Failures:
0:   <NO_OTHER_FAILURES>
1: Traceback (most recent call last):
1:   File "/venv/bin/accelerate", line 6, in <module>
1: ValueError: the config file is odd
1: after it
0: ------------------------------------------------------------
0: Root Cause (first observed failure):
0:   exitcode  : 7 (pid: 7734)
0: ============================================================
0: said afterwards
the script itself
"""


def shown(text: str) -> list[str]:
    launchers = LauncherFilter()
    return [line.text for raw in text.splitlines() if launchers.wanted(line := parse_line(raw))]


def test_the_ranks_own_words_stay_and_the_launchers_account_goes() -> None:
    assert shown(FAILED) == [
        "about to fail",
        "Traceback (most recent call last):",
        '  File "/home/me/train.py", line 4, in <module>',
        "ValueError: rank says no",
        "the other node goes on",
        "ValueError: the config file is odd",
        "after it",
        "said afterwards",
        "the script itself",
    ]


@given(st.lists(st.sampled_from([*FAILED.splitlines(), "0: x", "", "0: ", "0: ====="])))
def test_no_order_of_lines_hides_a_rank(lines: list[str]) -> None:
    launchers = LauncherFilter()
    for line in map(parse_line, lines):
        if line.local_rank is not None or line.node is None:
            assert launchers.wanted(line)
