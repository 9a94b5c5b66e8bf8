"""From a stage to its job: the script, the name, and what is done and not done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.request import Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.plan.resources import Resources
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import StageResults, read_stage, write_results
from hpclaunch.run.stage_settings import Generate, Merge, Quantize, StageSettings
from hpclaunch.stages.draft import StageRequest, draft_stage, find_done
from hpclaunch.stages.registry import STAGES, stage_called
from hpclaunch.stages.source import resolve
from hpclaunch.stages.source_checks import check_sources
from tests.stages.folders import write_model, write_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without Slurm and runs of anybody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("hpclaunch.slurm.commands.available", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merge_of(home: Path, **changed: object) -> StageRequest:
    if not (home / "runs/a").exists():
        write_run(home / "runs/a")
    request = replace(Request(mode="local"), **changed)  # type: ignore[arg-type]  # a table of the test's own
    return StageRequest(Merge(), (resolve(str(home / "runs/a")),), request)


def test_every_stage_has_its_name() -> None:
    assert [stage_called(name).name for name in STAGES] == list(STAGES)
    with pytest.raises(UserError, match="did you mean 'merge'"):
        stage_called("merg")


def test_its_run_lies_beside_the_source_and_starts_one_process(home: Path) -> None:
    job = draft_stage(merge_of(home))
    assert job.plan.launch.folder == home / "runs/a-merge"
    assert "accelerate-launch" not in job.script
    assert "-m hpclaunch.train.stages.merge" in job.script
    assert "monitors.recorder" in job.script
    folder = write_folder(job).folder
    found = read_stage(folder)
    assert found is not None and found.settings == Merge()
    assert draft_stage(merge_of(home)).plan.launch.name == "a-merge-2"


def test_what_is_done_is_found(home: Path) -> None:
    wanted = merge_of(home)
    assert find_done(wanted) is None
    folder = write_folder(draft_stage(wanted)).folder
    assert find_done(wanted) is None, "written, not done"
    finish(folder, wanted)
    assert find_done(wanted) == folder
    assert find_done(replace(wanted, settings=Merge(verify=False))) is None
    (home / "runs/a/final/adapter_model.safetensors").write_bytes(b"trained further")
    assert find_done(merge_of(home)) is None


def test_the_weights_that_were_read_count(home: Path) -> None:
    """A stage that was submitted before its source was trained knows them only as it ends."""
    wanted = merge_of(home)
    (home / "runs/a/final").rename(home / "runs/a/hidden")
    early = replace(wanted, sources=(resolve(str(home / "runs/a"), pending=True),))
    folder = write_folder(draft_stage(early)).folder
    (home / "runs/a/hidden").rename(home / "runs/a/final")
    finish(folder, wanted)
    assert find_done(wanted) == folder


def finish(folder: RunFolder, wanted: StageRequest) -> None:
    marks = tuple(known.source.fingerprint for known in wanted.sources)
    write_results(folder, StageResults(stage="merge", fingerprints=marks, seconds=1.0))
    folder.final.mkdir()


def test_it_is_resumed_as_it_was(home: Path) -> None:
    job = draft_stage(merge_of(home))
    written = write_folder(job)
    again = redraft(written.folder, written.record)
    assert again.script == job.script
    assert again.plan.launch.stage is not None
    assert again.plan.launch.stage.document == written.folder.stage.read_text()


def test_a_whole_model_has_nothing_to_merge(home: Path) -> None:
    write_run(home / "runs/b", "model")
    for name in ("runs/b", str(write_model(home / "model"))):
        wanted = StageRequest(Merge(), (resolve(name),), Request(mode="local"))
        with pytest.raises(UserError, match="no adapter to merge"):
            draft_stage(wanted)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
    ],
)
def test_adapters_that_cannot_be_merged_are_refused(
    home: Path, changed: dict[str, object], words: str
) -> None:
    write_run(home / "runs/a", "adapter", **changed)
    with pytest.raises(UserError, match=words):
        draft_stage(merge_of(home))


@pytest.mark.parametrize("settings", [Merge(), Generate(prompts=("a",)), Quantize(to="nf4")])
def test_a_model_that_scores_is_asked_for_no_words(home: Path, settings: StageSettings) -> None:
    write_run(home / "runs/a", task_type="SEQ_CLS")
    scorer = write_model(home / "scorer")
    (scorer / "config.json").write_text(
        '{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}'
    )
    for name in (str(home / "runs/a"), str(scorer)):
        wanted = StageRequest(settings, (resolve(name),), Request(mode="local"))
        with pytest.raises(UserError, match="is a reward model, which scores answers"):
            draft_stage(wanted)


def test_a_base_that_is_gone_is_named(home: Path) -> None:
    write_run(home / "runs/a", base_model_name_or_path="/gone/model")
    with pytest.raises(UserError, match=r"/gone/model, which is no model's folder"):
        check_sources(merge_of(home).sources)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(nodes=2), "runs on one node"),
        (Resources(gpus=1), "uses no GPU"),
        (Resources(cpu_processes=2), "--cpus"),
    ],
)
def test_resources_it_cannot_use_are_refused(home: Path, resources: Resources, words: str) -> None:
    with pytest.raises(UserError, match=words):
        draft_stage(merge_of(home, mode="sbatch", resources=resources))
