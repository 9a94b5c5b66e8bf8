"""A few hostile run folders, the same at every run; `make fuzz` tries for ten minutes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.cli.running import ROOT

PROGRAM = """
from hypothesis import HealthCheck, given, seed, settings
from tests.fuzz.campaign import prepared
from tests.fuzz.mutations import _special, _set
with prepared() as (check, strategy):
    check([_special("run-1/events.jsonl", "fifo"), _special("run-1/run.json", "deep")])
    check([_special("run-1/logs/job-7.out", "zero"),
           _special("run-1/metrics/n1.samples.jsonl", "fifo")])
    check([_special("generate/stage.json", "fifo"), _special("chain/pipeline.json", "deep"),
           _special("merge/results.json", "zero")])
    @seed(1)
    @given(strategy)
    @settings(max_examples=8, deadline=None, database=None, derandomize=False,
              suppress_health_check=list(HealthCheck))
    def few(drawn):
        check(drawn)
    few()
"""


def test_no_command_fails_on_a_hostile_folder() -> None:
    """In a process without threads: each case is a fork of it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
