"""Nodes whose record breaks off before the others'."""

from __future__ import annotations

from pathlib import Path

from monitors.analysis.analysis import analyse_folder, build
from monitors.storage import filenames
from tests.monitors import traces


def cut(folder: Path, node: str, lines: int) -> None:
    path = filenames.path_of(folder, node, filenames.SAMPLES)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


def test_how_long_nothing_is_known_of_a_node_whose_sampler_was_killed(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=3, seconds=100)
    cut(tmp_path, "n2", 61)  # the head and sixty samples
    for report in (build(tmp_path), analyse_folder(tmp_path).report):
        n1, n2, n3 = report.nodes
        (problem,) = n2.problems
        assert problem.startswith("no samples in the last 40 s of the job")
        assert (n1.problems, n3.problems) == ((), ())
        assert n2.cpu_busy_pct.count == 60


def test_all_that_run_on_or_ended_in_order_are_left_alone(tmp_path: Path) -> None:
    traces.record(tmp_path, nodes=2, seconds=100)
    for node, lines in (("n1", 95), ("n2", 99)):
        cut(tmp_path, node, lines)
    assert all(node.problems == () for node in build(tmp_path).nodes)
    traces.record(tmp_path / "ended", nodes=1, seconds=40)
    filenames.path_of(tmp_path / "ended", "n1", filenames.SAMPLES).rename(
        tmp_path / "n3.samples.jsonl"
    )
    assert all(node.problems == () for node in build(tmp_path).nodes)
