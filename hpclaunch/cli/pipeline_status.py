"""The stages of a pipeline with their states, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING

from hpclaunch.cli.terminal import STATE_STYLES, Style
from hpclaunch.cli.text import print_json, rows, say, table, waiting_message

if TYPE_CHECKING:
    from pathlib import Path

    from hpclaunch.pipeline.record import Pipeline
    from hpclaunch.pipeline.state import StageStatus


def print_pipeline(reference: str, as_json: bool) -> int:
    """Print the state of a pipeline; returns the exit code. Raises UserError for any other."""
    from hpclaunch.pipeline.record import find_pipeline

    return print_chain(*find_pipeline(reference), as_json=as_json)


def print_chain(folder: Path, pipeline: Pipeline, *, as_json: bool) -> int:
    """Print each stage and its state; returns 1 where one did not end well, else 0."""
    from hpclaunch.pipeline.state import ENDED_BADLY, stage_states

    with waiting_message():
        stages = stage_states(folder, pipeline)
    bad = [each for each in stages if each.state in ENDED_BADLY]
    if as_json:
        print_json(
            {"name": folder.name, "folder": folder, "stages": [asdict(each) for each in stages]}
        )
        return 1 if bad else 0
    print(_text(stages))
    print(rows([("folder", str(folder))]))
    first = next((each for each in bad if each.state != "not run"), None)
    if first is not None:
        say(f"stage {first.name} {first.state}: hpclaunch why {quote(first.run)}")
        say(f"go on from there: hpclaunch resume {quote(folder.name)}")
    return 1 if bad else 0


def _text(stages: list[StageStatus]) -> str:
    lines = [("stage", "kind", "step", "job", "after", "state")]
    lines += [
        (
            each.name,
            each.kind,
            _step(each),
            each.job_id or "",
            ", ".join(each.after),
            each.state + (f" ({each.reason})" if each.reason else ""),
        )
        for each in stages
    ]
    styles: list[Style] = [STATE_STYLES.get(each.state, "") for each in stages]
    return table(lines, ["", *styles])


def _step(stage: StageStatus) -> str:
    if stage.step is None:
        return ""
    return f"{stage.step:,}" if stage.total is None else f"{stage.step:,}/{stage.total:,}"
