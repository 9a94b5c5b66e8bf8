"""The file of a pipeline: its shape, what refers to what, and the order that follows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.pipeline.order import ancestors, waits_for
from hpclaunch.pipeline.references import references, resolved
from hpclaunch.pipeline.schema import read_pipeline


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "chain.yaml"
    file.write_text(text)
    return file


def order(tmp_path: Path, text: str) -> dict[str, tuple[str, ...]]:
    spec, document, _ = read_pipeline(write(tmp_path, text))
    return waits_for(spec, document, tmp_path)


def test_what_a_stage_takes_it_waits_for(tmp_path: Path) -> None:
    found = order(
        tmp_path,
        """
        stages:
          report: {command: [show.py, "${align.folder}"], inputs: made/data.jsonl}
          align: {recipe: tiny, set: {model.name: "${merge.final}"}, after: [eval]}
          eval: {stage: eval, of: tune}
          merge: {stage: merge, of: tune}
          tune: {recipe: tiny, set: {data.name: made/data.jsonl}}
          prepare: {command: [make.py], outputs: made/data.jsonl}
        """,
    )
    assert list(found) == ["prepare", "tune", "eval", "merge", "align", "report"]
    assert found["tune"] == ("prepare",) and found["merge"] == ("tune",)
    assert found["align"] == ("eval", "merge")
    assert found["report"] == ("align", "prepare")
    assert ancestors(found, "align") == {"eval", "merge", "tune", "prepare"}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("{}", "chain.yaml:2: a pipeline has at least one stage"),
        ("{a: {recipe: tiny, after: b}, b: {recipe: tiny, after: a}}",
         "chain.yaml:2: stages wait for each other: a -> b -> a"),
        ("{a: {recipe: tiny, after: a}}", "a waits for itself"),
        ("{a: {command: [x, '${a.folder}']}}", "a waits for itself"),
        ("{a: {recipe: tiny, after: tune}, tun: {recipe: tiny}}", "did you mean 'tun'?"),
        ("{a: {recipe: tiny, set: {model.name: '${b.final}'}}}", "there is no stage 'b'"),
        ("{a: {command: [x, '${b}']}}", "'${b}' is no reference; write ${STAGE.final}"),
        ("{a: {command: [x, '${b.final']}}", "'${b.final' is no reference"),
        ("{a: {command: [x], inputs: gone.txt}}", "a needs gone.txt, which is not there"),
        ("{a: {command: [x], outputs: o}, b: {command: [x], outputs: ./o}}", "both make ./o"),
        ("{a: {recipe: tiny, command: [x]}}", "a has recipe and command; give one of"),
        ("{a: {after: []}}", "a has none of them; give one of recipe, stage and command"),
        ("{a: {recipe: tiny, of: b}}", "of belongs to a stage with stage"),
        ("{a: {command: [x], set: {training.seed: 1}}}", "set belongs to a stage with recipe"),
        ("{a: {recipe: tiny, resource: {}}}", "unknown key 'stages.a.resource'"),
        ("{a: {recipe: tiny, resources: {node: 1}}}", "did you mean 'nodes'?"),
        ("{a: {recipe: tiny, resources: {dependency: afterok:1}}}", "unknown key"),
        ("{a: {recipe: tiny, resources: {nodes: two}}}", "stages.a.resources.nodes: expected"),
        ("{'a b': {recipe: tiny}}", "'a b' is no name of a stage"),
        ("{../a: {recipe: tiny}}", "'../a' is no name of a stage"),
        ("{a: {command: train.py}}", "stages.a.command: expected `list`"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, stages: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        order(tmp_path, f"\nstages: {stages}\n")
    assert "\n" not in str(error.value)


@given(st.text(max_size=40))
def test_a_text_without_references_stays(text: str) -> None:
    if "${" not in text:
        assert list(references([text])) == []
        assert resolved([text, {"a": text}], lambda *_: "no") == [text, {"a": text}]


def test_references_are_replaced_however_deep() -> None:
    value = {"model.name": "${tune.final}", "list": ["a/${x.folder}/b", 3]}
    assert set(references(value)) == {("tune", "final"), ("x", "folder")}
    assert resolved(value, lambda stage, part: f"<{stage} {part}>") == {
        "model.name": "<tune final>",
        "list": ["a/<x folder>/b", 3],
    }
