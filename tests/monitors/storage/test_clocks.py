"""Nodes whose clocks are apart: said, and put right before anything is laid side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitors.analysis.analysis import Analysis, JobContext, analyse_folder
from monitors.records import End, Note, Start, Tick
from monitors.report.build import render_html
from monitors.report.text import render_text
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from monitors.storage.store import NodeStore
from tests.monitors import traces
from tests.monitors.recorded import NOON
from tests.monitors.traces import Values

OFF_S = 37.0


def burst(_node: str, t: int) -> Values:
    """Both nodes are busy at the same moment."""
    return {"cpu_busy_pct": 99.0 if 200 <= t < 240 else 1.0}


def move(folder: Path, node: str, seconds: float) -> None:
    """Let a node's record have been made by a clock that is ahead."""
    lines = []
    for record in NodeStore(folder, node).records():
        if isinstance(record, Start | Tick | Note | End):
            fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
            lines.append(json_lines.line(type(record)(**{**fields, "wall": record.wall + seconds})))
    filenames.path_of(folder, node, filenames.SAMPLES).write_text("".join(lines))


def told(folder: Path, *events: dict[str, Any]) -> Analysis:
    traces.record(folder, nodes=2, seconds=400, host=burst, gpus=0)
    move(folder, "n2", OFF_S)
    return analyse_folder(folder, JobContext(events=(*traces.events(400), *events)))


def apart(found: Analysis) -> float:
    """Seconds between the begins of the two nodes' bursts."""
    assert found.timeline is not None
    begins = [
        int(np.flatnonzero(node.bands["cpu_busy_pct"].mean > 50)[0])
        for node in found.timeline.nodes
    ]
    return (begins[1] - begins[0]) * found.timeline.step_s


def compared(ahead: object, within: object) -> dict[str, Any]:
    return {"event": "clocks", "time": NOON + 30, "ahead": ahead, "within": within}


def test_what_happened_at_once_is_shown_at_once(tmp_path: Path) -> None:
    found = told(tmp_path, compared({"n1": 0.0, "n2": OFF_S}, {"n1": 0.002, "n2": 0.004}))
    assert apart(found) == 0
    text = render_text(found.report)
    assert "within 0.002 s of the first rank's" in text
    assert "37.000 s ahead of the first rank's; corrected in findings and plots" in text
    assert "37.000 s ahead of the first rank&#39;s" in render_html(found)


def test_without_a_comparison_it_is_unknown(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert apart(found) == pytest.approx(OFF_S, abs=found.timeline.step_s if found.timeline else 0)
    assert "How far the nodes' clocks are apart is unknown." in render_text(found.report)
    assert "<td>unknown</td>" in render_html(found)


def test_what_may_be_no_difference_moves_nothing(tmp_path: Path) -> None:
    found = told(tmp_path, compared({"n1": 0.0, "n2": OFF_S}, {"n1": 0.0, "n2": 40.0}))
    assert apart(found) == pytest.approx(OFF_S, abs=2)
    assert "within 40.000 s of the first rank's" in render_text(found.report)


@pytest.mark.parametrize(
    ("ahead", "within"),
    [
        (None, None),
        ([1], {"n2": 1}),
        ({"n2": "late"}, {"n2": 1}),
        ({"n2": OFF_S}, {}),
        ({"n2": OFF_S}, {"n2": -1}),
        ({"n2": 1e300}, {"n2": 0}),
    ],
)
def test_garbage_is_no_comparison(tmp_path: Path, ahead: object, within: object) -> None:
    found = told(tmp_path, compared(ahead, within))
    assert apart(found) == pytest.approx(OFF_S, abs=2)
    assert found.report.nodes[1].clock_ahead_s is None


def test_a_clock_ahead_is_no_record_that_goes_on_longer(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=2, seconds=100, gpus=0)
    for node in ("n1", "n2"):
        path = filenames.path_of(tmp_path, node, filenames.SAMPLES)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    move(tmp_path, "n2", OFF_S)
    event = compared({"n1": 0.0, "n2": OFF_S}, {"n1": 0.0, "n2": 0.0})
    first, second = analyse_folder(tmp_path, JobContext(events=(event,))).report.nodes
    assert (first.problems, second.problems) == ((), ())
