"""The verdicts on a real record: a training of four nodes to which faults were done in turn.

Recorded by `make verdicts` on two cores with other work: FSDP over gloo, one rank a node, a sidecar
each. `windows.jsonl` tells when each fault was there, and `wanted` what is to be said of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitors.analysis.analysis import JobContext, analyse_folder
from tests.slurm.verdicts.training import within

RECORD = Path(__file__).with_name("recorded_faults")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORD / name).read_text().splitlines()]


WINDOWS = lines("windows.jsonl")


@pytest.mark.parametrize("at", range(len(WINDOWS)), ids=[each["name"] for each in WINDOWS])
def test_what_was_done_is_what_is_said(at: int) -> None:
    window = WINDOWS[at]
    events = within(lines("events.jsonl"), window["begin"], window["end"])
    found = analyse_folder(RECORD, JobContext(events=events))
    # What memory came to at its highest is told of the whole run, whose end it was.
    said = [finding for finding in found.findings if finding.key != "host-memory"]
    # Four nodes on two cores: that ranks queued is true of the whole run.
    others = [finding for finding in said if finding.key != "rank-queue"]
    if window["wanted"] is None:
        assert others == []
    else:
        assert said[0].headline.startswith(window["wanted"])
        assert len(others) == 1
