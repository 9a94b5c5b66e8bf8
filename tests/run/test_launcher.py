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
        if line.local_rank is not None or line.node is None:  # none is a frame of C++
            assert launchers.wanted(line)


STORE = """\
1: [gpu0]:[rank1]:[W1127 12:00:00.123 TCPStore.cpp:106] [c10d] recvValue failed on SocketImpl(fd=3)
1: [gpu0]:Exception raised from recvBytes at /pytorch/torch/csrc/c10d/Utils.hpp:678 (most recent \
call first):
1: [gpu0]:frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x98 (0x7f in libc10.so)
1: [gpu0]:frame #24: clone + 0x44 (0x7fffde in /lib/x86_64-linux-gnu/libc.so.6)
1: [gpu0]:frames done
"""


def test_the_stack_below_a_warning_of_torchs_stays_in_the_log() -> None:
    """At the end of a program on two nodes it is the only thing left to read, and means nothing."""
    assert [line.partition("]")[0] for line in shown(STORE)] == ["[rank1", "frames done"]
