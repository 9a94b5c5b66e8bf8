"""The first real record of a GPU: LoRA of an 8B model, ten steps on one H200, one sample a second.

Its first step took 10.2 s where the others took 4.5 s, and the GPU was idle for half of it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitors.analysis.analysis import Analysis, JobContext, analyse_folder
from monitors.analysis.events import read_events

RECORD = Path(__file__).with_name("recorded_h200")
EVENTS = tuple(json.loads(line) for line in (RECORD / "events.jsonl").read_text().splitlines())


@pytest.fixture(scope="module")
def h200() -> Analysis:
    return analyse_folder(RECORD, JobContext(events=EVENTS))


def test_the_warm_up_of_the_first_step_is_not_held_against_the_training(h200: Analysis) -> None:
    assert [finding.key for finding in h200.findings] == ["gpu-room"]
    assert h200.verdict == "Nothing stands out."


def test_only_a_first_step_that_took_longer_is_a_warm_up() -> None:
    events = read_events(EVENTS)
    (warm_up,) = events.warm_up
    assert (warm_up.end, warm_up.end - warm_up.begin) == pytest.approx((1795801344.952, 10.1584))
    steady = replace(events, steps=events.steps[1:])
    assert steady.warm_up == (), "the second step took as long as those after it"
    resumed = replace(events, starts=(*events.starts, events.steps[6].end - 4))
    assert len(resumed.warm_up) == 1, "a first step after a restart that took as long as others"
    assert replace(events, steps=events.steps[:2]).warm_up == (), "too few steps to compare"


def test_figures_of_a_real_gpu(h200: Analysis) -> None:
    (node,) = h200.report.nodes
    (gpu,) = node.gpus
    assert (node.samples, node.missed, gpu.name) == (87, 0, "NVIDIA H200")
    assert gpu.power_w.peak == 700
    assert gpu.memory_used_mib.peak == pytest.approx(20_932, abs=1)


def test_the_warm_up_is_left_out_of_the_throughput(h200: Analysis) -> None:
    assert h200.figures.tokens == 10 * 32_768
    steady_s = sum(step.seconds for step in h200.events.steps[1:])
    assert h200.figures.tokens_per_second == pytest.approx(9 * 32_768 / steady_s)
    assert "all steps but the first (warm-up)" in dict(h200.rows)["throughput"]
