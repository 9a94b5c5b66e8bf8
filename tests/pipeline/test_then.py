"""`--then`: stages that follow a run, each with the weights of the last one that leaves some."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.request import Request
from hpclaunch.pipeline.takes import stage_settings
from hpclaunch.pipeline.then import draft_then
from hpclaunch.plan.resources import Resources


def request(tmp_path: Path, **resources: object) -> Request:
    return Request(
        recipe="tiny",
        site="generic",
        runs_dir=tmp_path / "runs",
        resources=Resources(account="mine", **resources),  # type: ignore[arg-type]  # of a test
    )


def test_stages_follow_the_run_that_they_take_from(tmp_path: Path) -> None:
    made = draft_then(
        request(tmp_path, cpu_processes=2, nodes=2),
        [
            "eval tasks=arc_easy,boolq limit=3",
            "merge",
            "generate 'prompts=One, two'",
            "eval tasks=x",
        ],
    )
    assert made.name == "tiny-1" and made.folder == tmp_path / "runs/tiny-1"
    after = [(stage.name, stage.after) for stage in made.stages]
    assert after == [
        ("train", ()), ("eval", ("train",)), ("merge", ("train",)), ("generate", ("merge",)),
        ("eval-2", ("merge",)),
    ]  # fmt: skip
    for stage in made.stages[1:]:
        resources = stage.job.plan.resources
        assert (resources.account, resources.node_count, resources.cpu_processes) == ("mine", 1, 1)
        assert stage.wanted is not None
    assert made.stages[1].wanted is not None
    assert made.stages[1].wanted.settings.tasks == ("arc_easy", "boolq")  # type: ignore[union-attr]  # an eval


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merg", "no stage 'merg'; did you mean 'merge'?"),
        ("", "a stage's name is missing"),
        ("eval", "settings: Object missing required field `tasks`"),
        ("merge verify", "'verify' is no setting; write --then 'merge KEY=VALUE'"),
        ("merge 'x", "No closing quotation"),
        ("merge verfy=false", "merge has no setting 'verfy'"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        draft_then(request(tmp_path, cpu_processes=1), [text])


def test_a_sentence_is_one_prompt_and_names_are_several() -> None:
    assert stage_settings("generate", {"prompts": "One, two"}).prompts == ("One, two",)
    assert stage_settings("eval", {"tasks": "a,b"}).tasks == ("a", "b")
    assert stage_settings("eval", {"tasks": ["a,b"]}).tasks == ("a,b",)


def test_the_best_by_a_score_is_not_there_when_a_chain_goes_on(tmp_path: Path) -> None:
    named = ("evaluate.every=checkpoint", "evaluate.tasks=[quiz]", "checkpoints.best=quiz")
    wanted = replace(request(tmp_path, cpu_processes=1), overrides=named)
    with pytest.raises(UserError, match=r"best: quiz is known only after"):
        draft_then(wanted, ["merge"])
    with pytest.raises(UserError, match=r"best cannot follow .* in a chain"):
        draft_then(request(tmp_path, cpu_processes=1), ["best task=quiz"])
