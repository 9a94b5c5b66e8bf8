"""Lines of a job's log: who said it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.run.lines import Line, parse_line, show


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("2: [gpu1]: loss 0.5\n", Line("loss 0.5", 2, 1, "gpu1")),
        (" 7: [cpu10]:\n", Line("", 7, 10, "cpu10")),
        ("0: [gpu0]:  indented: yes", Line("  indented: yes", 0, 0, "gpu0")),
        ("0: [gpu0]:step 1", Line("step 1", 0, 0, "gpu0")),
        ("12: launcher says [gpu1]: x\r\n", Line("launcher says [gpu1]: x", 12)),
        ("0:", Line("", 0)),
        ("a word: and more", Line("a word: and more")),
        ("srun: error: node1: task 1: Exited", Line("srun: error: node1: task 1: Exited")),
        ("12:30:05 a time is no node", Line("12:30:05 a time is no node")),
        ("", Line("")),
        ("\n", Line("")),
    ],
)
def test_labels_are_taken_off(raw: str, line: Line) -> None:
    assert parse_line(raw) == line


LABELLED = st.tuples(st.integers(0, 99_999), st.sampled_from(["gpu", "cpu"]), st.integers(0, 999))
TEXT = st.text().filter(lambda text: not text.endswith(("\n", "\r")))


@given(LABELLED, TEXT, st.booleans())
def test_what_srun_and_torchrun_put_in_front_is_read_back(
    label: tuple[int, str, int], text: str, padded: bool
) -> None:
    node, device, local = label
    # A space after the label is dropped; torchrun writes none, and indented lines begin with more.
    text = text[1:] if text.startswith(" ") and not text.startswith("  ") else text
    raw = f"{node:>{5 if padded else 1}}: [{device}{local}]:{text}\n"
    assert parse_line(raw) == Line(text, node, local, f"{device}{local}")


@given(st.text())
def test_any_line_is_some_line(raw: str) -> None:
    line = parse_line(raw)
    assert line.text in raw
    assert show(line, 1)[-len(line.text) :] == line.text


def test_the_global_rank() -> None:
    assert parse_line("2: [gpu1]: x").rank(4) == 9
    assert parse_line("2: x").rank(4) is None
    assert parse_line("x").rank(4) is None


@pytest.mark.parametrize(
    ("line", "nodes", "names", "shown"),
    [
        (Line("x", 0, 0, "gpu0"), 1, (), "gpu0 | x"),
        (Line("x", 0, 1, "gpu1"), 1, (), "gpu1 | x"),
        (Line("x", 0, 1, "cpu1"), 1, (), "cpu1 | x"),
        (Line("x", 0), 1, (), "x"),
        (Line("x"), 4, ("a",), "x"),
        (Line("x", 1, 0, "gpu0"), 2, ("a", "b"), "b gpu0 | x"),
        (Line("x", 1), 2, ("a", "b"), "b      | x"),
        (Line("x", 3, 0, "gpu0"), 4, ("a", "b"), "node 3 gpu0 | x"),
    ],
)
def test_a_person_sees_who_said_it(
    line: Line, nodes: int, names: tuple[str, ...], shown: str
) -> None:
    assert show(line, nodes, names, per_node=2) == shown


def test_a_rank_that_is_alone_needs_no_label() -> None:
    assert show(Line("x", 0, 0, "gpu0"), 1) == "x"
