"""A stage's run as `status`, `why`, `report` and `ls` read it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record, write_record
from hpclaunch.run.stage import StageRecord, StageResults, stage_text, write_results
from hpclaunch.run.stage_settings import Merge
from hpclaunch.stages.source import resolve
from hpclaunch.train.failure import write_error_file
from tests.cli.running import Home
from tests.stages.folders import write_run


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a run and a stage of it."""
    source = resolve(str(write_run(tmp_path / "runs/a"))).source
    stage = RunFolder(write_run(tmp_path / "runs/a-merge", "model"))
    program = ["-m", "hpclaunch.train.stages.merge"]
    record = msgspec.structs.replace(read_record(stage), stage="merge", program=program)
    write_record(stage, msgspec.structs.replace(record, mode="local"))
    stage.stage.write_text(stage_text(StageRecord(sources=(source,), settings=Merge())))
    stage.exit_code_file.write_text("0\n")
    values = {"bytes": 2_000_000, "files": 1, "logits": {"max": 0.01, "kl": 1e-6}}
    write_results(stage, StageResults(stage="merge", seconds=3.0, values=values))
    return Home(tmp_path, {"HPCLAUNCH_RUNS_DIR": str(tmp_path / "runs")})


def test_what_is_done_reads_as_a_stage(home: Home) -> None:
    status = home.call("status", "a-merge").out
    assert "merge of a" in status
    assert "2.0 MB in 1 files of weights" in status
    assert "differ by 0.01 at most" in status
    assert "step" not in status
    report = home.call("report", "a-merge")
    assert report.code == 0, report.err
    assert "merge of a" in report.out and "No record" not in report.out
    assert "done: nothing failed" in home.call("why", "a-merge").out
    (line,) = [each for each in home.call("ls", "a-merge").out.splitlines() if "a-merge" in each]
    assert line.split()[2] == "merge"


def test_what_failed_is_done_again(home: Home) -> None:
    stage = RunFolder(home.runs / "a-merge")
    stage.exit_code_file.write_text("1\n")
    stage.results.unlink()
    write_error_file(stage, UserError("the base is gone", "put it back"))
    (stage.logs / "job-local.out").write_text("0: hpclaunch: the base is gone; put it back\n")
    assert "the base is gone" in home.call("status", "a-merge").out
    assert "does merge again" in home.call("why", "a-merge").out


def test_what_a_job_wrote_is_shown_in_its_status() -> None:
    from hpclaunch.stages.generate import rows

    texts = [{"text": f"line {n}\nand more " + "x" * 400 * (n == 1)} for n in range(5)]
    values = {"texts": texts, "tokens": 9, "tokens_per_second": 3.0, "loading_seconds": 1.0}
    wrote = [text for label, text in rows(values) if label == "wrote"]
    assert wrote[0] == "line 0 and more"
    assert wrote[1].endswith("xxx ...") and len(wrote[1]) < 310
    assert wrote[-1] == "2 more in results.json" and len(wrote) == 4
