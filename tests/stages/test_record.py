"""stage.json and results.json: strictly read, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import (
    MAX_BYTES,
    Source,
    StageRecord,
    StageResults,
    read_results,
    read_stage,
    stage_text,
    write_results,
)
from hpclaunch.run.stage_settings import Generate, Merge

RECORD = StageRecord(sources=(Source(name="a", run="/runs/a"),), settings=Merge(verify=False))


def test_a_stage_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.stage.write_text(stage_text(RECORD))
    assert read_stage(folder) == RECORD
    assert RECORD.settings.stage == "merge"


def test_a_training_has_no_stage(tmp_path: Path) -> None:
    assert read_stage(RunFolder(tmp_path)) is None


@given(st.lists(st.text(), max_size=3).map(tuple))
def test_prompts_of_any_text_survive(prompts: tuple[str, ...]) -> None:
    import msgspec

    record = StageRecord(settings=Generate(prompts=prompts))
    try:
        text = stage_text(record)
    except UnicodeEncodeError:
        return
    assert msgspec.json.decode(text, type=StageRecord) == record


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('"verify"', '"verified"', "unknown field"),
        ('"merge"', '"erase"', "erase"),
        ('"format": 1', '"format": 2', "newer"),
        ("{", "[", "damaged"),
        ('"parallel": false', '"parallel": false, "program": "rm"', "unknown field"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, old: str, new: str, word: str) -> None:
    folder = RunFolder(tmp_path)
    text = stage_text(RECORD)
    assert old in text
    folder.stage.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=word):
        read_stage(folder)


def test_a_link_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "elsewhere").write_text(stage_text(RECORD))
    folder.stage.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be read"):
        read_stage(folder)
    folder.stage.unlink()
    with folder.stage.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(UserError, match="cannot be read"):
        read_stage(folder)


def test_damaged_results_are_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_results(folder) is None
    write_results(folder, StageResults(stage="merge", seconds=1.0, values={"bytes": 3}))
    found = read_results(folder)
    assert found is not None and found.values == {"bytes": 3}
    folder.results.write_text("{")
    assert read_results(folder) is None
