"""Which nodes are to be left out, by what the starts before left in marks."""

from __future__ import annotations

from typing import Any

from hpclaunch.diagnose.faulty_nodes import failed_twice, failures, kept, left_out


def failure(node: str | None, kind: str = "killed") -> dict[str, Any]:
    return {"event": "failure", "kind": kind, "node": node}


def test_a_node_is_left_out_after_its_second_failure() -> None:
    assert failed_twice([failure("node1"), failure("node2")]) == ()
    assert failed_twice([failure("node2"), failure("node1"), failure("node2", "node-failure")]) == (
        "node2",
    )


def test_what_fails_anywhere_is_put_down_to_no_node() -> None:
    told = [
        failure("node1", kind) for kind in ("exception", "gpu-memory", "disk-full", "peer-lost")
    ]
    assert failures([*told, *told]) == {}


def test_marks_that_make_no_sense_count_for_nothing() -> None:
    odd = [failure(None), {"event": "failure", "kind": "killed"}, {"event": "failure", "node": 3}]
    assert failed_twice([*odd, *odd]) == ()
    assert left_out([{"event": "left out", "job": "8", "nodes": "node1"}], "8") == ()


def test_what_one_job_leaves_out_another_may_be_given() -> None:
    marks = [
        {"event": "left out", "job": "8", "nodes": ["node2"]},
        {"event": "kept", "job": "8", "nodes": ["node1"]},
    ]
    assert (left_out(marks, "8"), kept(marks, "8")) == (("node2",), ("node1",))
    assert (left_out(marks, "9"), kept(marks, "9")) == ((), ())
