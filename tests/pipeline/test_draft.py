"""From a pipeline's file to jobs: what stands for what, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import predict
from hpclaunch.launch.check import check
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request
from hpclaunch.launch.write_folder import write_folder
from hpclaunch.pipeline.again import draft_stage_anew
from hpclaunch.pipeline.draft import DraftedPipeline, Where, draft_pipeline
from hpclaunch.pipeline.record import find_pipeline, run_folder
from hpclaunch.pipeline.schema import read_pipeline
from hpclaunch.pipeline.state import stage_states
from hpclaunch.pipeline.submit import after_jobs, check_pipeline, write_pipeline
from hpclaunch.plan.resources import Mode, Resources
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.group import PIPELINE_FILE
from hpclaunch.stages.draft import prediction_of
from hpclaunch.stages.need import Prediction, Unknown

ROOT = Path(__file__).parents[2]

CHAIN = """
resources: {cpu_processes: 1, time: "1:00:00", account: mine}
stages:
  prepare: {command: [make.py], outputs: data.jsonl}
  tune:
    recipe: tiny
    set: {data.name: data.jsonl, data.validation_split: null, training.learning_rate: 1.0e-4}
    resources: {time: "2:00:00"}
  merge: {stage: merge, of: tune, settings: {verify: false}}
  align: {recipe: tiny, set: {model.name: "${merge.final}"}}
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))


def drafted(tmp_path: Path, text: str = CHAIN, mode: Mode = "local") -> DraftedPipeline:
    file = tmp_path / "chain.yaml"
    file.write_text(text)
    (tmp_path / "make.py").touch()
    spec, document, read = read_pipeline(file)
    where = Where(mode, runs_dir=tmp_path / "runs")
    return draft_pipeline(spec, document, read, file, where)


def test_each_stage_is_a_run_beside_the_pipelines_folder(tmp_path: Path) -> None:
    made = drafted(tmp_path)
    jobs = {stage.name: stage.job.plan for stage in made.stages}
    assert list(jobs) == ["prepare", "tune", "merge", "align"]
    assert made.folder == tmp_path / "runs/chain-1"
    assert jobs["tune"].launch.folder == tmp_path / "runs/chain-1.tune"
    assert jobs["tune"].launch.group == "chain-1"
    assert jobs["tune"].recipe.data.name == str(tmp_path / "data.jsonl"), "beside the file"
    assert jobs["tune"].recipe.training["learning_rate"] == 1e-4
    assert (jobs["tune"].resources.time, jobs["tune"].resources.account) == ("2:00:00", "mine")
    assert jobs["prepare"].resources.time == "1:00:00"
    assert jobs["prepare"].launch.cwd == tmp_path, "programs start in the file's folder"
    assert jobs["align"].recipe.model.name == str(tmp_path / "runs/chain-1.merge/final")
    assert not (tmp_path / "runs").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("${merge.final}", "${tune.final}", "tune leaves an adapter"),
        ("${merge.final}", "${prepare.final}", "prepare is a program of your own"),
        ("of: tune", "of: prepare", "prepare is a program of your own"),
        ("of: tune", "of: gone", "merge: no run called 'gone'"),
        ("of: tune,", "", "add of: STAGE"),
        ("verify: false", "verfy: false", "merge has no setting 'verfy'; did you mean 'verify'?"),
        ("verify: false", "verify: maybe", "settings: Expected `bool`"),
        ("stage: merge", "stage: merge2", "no stage 'merge2'"),
        ("recipe: tiny\n", "recipe: tinyy\n", "chain.yaml:5: tune: no recipe called 'tinyy'"),
        ("learning_rate: 1.0e-4", "learning_rat: 1", "unknown key 'training.learning_rat'"),
        ("data.jsonl, data", "other.jsonl, data", "dataset not found"),
        ("cpu_processes: 1", "nodes: 2, cpu_processes: 1", "a local run has one node"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_its_name(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in CHAIN
    with pytest.raises(UserError, match=re.escape(message)):
        drafted(tmp_path, CHAIN.replace(before, after))


def test_a_stages_own_processes_replace_the_pipelines_gpus(tmp_path: Path) -> None:
    text = """
    resources: {gpus: 4, gpu: a100_40}
    stages: {a: {command: [make.py], resources: {cpu_processes: 2}}}
    """
    resources = drafted(tmp_path, text).stages[0].job.plan.resources
    assert (resources.cpu_processes, resources.gpus, resources.gpu) == (2, None, None)


def test_data_that_an_earlier_stage_makes_is_not_looked_for(tmp_path: Path) -> None:
    looked: list[Recipe] = []
    check_pipeline(drafted(tmp_path), looked.append)
    assert [recipe.model.name for recipe in looked] == [str(tmp_path / "runs/chain-1.merge/final")]
    with pytest.raises(UserError, match="align: no rows"):
        check_pipeline(drafted(tmp_path), _refuse)


def test_a_secret_in_the_file_is_refused_for_its_copy_is_kept(tmp_path: Path) -> None:
    token = "hf_" + "a1B2" * 8
    with pytest.raises(UserError, match="stands in the pipeline's file") as refused:
        check_pipeline(drafted(tmp_path, f"# {token}{CHAIN}"), lambda _: None)
    assert token not in str(refused.value)


def _refuse(recipe: Recipe) -> None:
    raise UserError("no rows")


def test_a_job_waits_for_others_and_is_cancelled_where_one_fails(tmp_path: Path) -> None:
    job = draft(
        Request(recipe="tiny", name="r", site="generic", resources=Resources(cpu_processes=1))
    )
    waiting = after_jobs(job, ["7", "9"])
    assert "#SBATCH --dependency=afterok:7:9" in waiting.script
    assert "#SBATCH --kill-on-invalid-dep=yes" in waiting.script
    again = after_jobs(waiting, ["11"])
    assert "#SBATCH --dependency=afterok:11\n" in again.script
    assert again.script.count("--kill-on-invalid-dep") == 1
    assert after_jobs(job, []) is job


def test_what_hangs_on_a_failed_stage_does_not_run(tmp_path: Path) -> None:
    made = drafted(tmp_path)
    write_pipeline(made, ["hpclaunch"])
    folder, pipeline = find_pipeline("chain-1")
    assert [each.state for each in stage_states(folder, pipeline)] == ["waits"] * 4
    written = write_folder(made.stages[0].job)
    written.folder.exit_code_file.write_text("0\n")
    written = write_folder(made.stages[1].job)
    written.folder.exit_code_file.write_text("3\n")
    found = stage_states(folder, pipeline)
    assert [(each.state, each.reason) for each in found] == [
        ("done", ""), ("failed", ""), ("not run", "tune failed"), ("not run", "merge did not run"),
    ]  # fmt: skip
    assert run_folder(folder, pipeline.stages[1]).root == tmp_path / "runs/chain-1.tune"


def test_a_stage_without_a_run_is_drafted_from_the_file_as_it_is_now(tmp_path: Path) -> None:
    made = drafted(tmp_path)
    write_pipeline(made, ["hpclaunch"])
    folder, pipeline = find_pipeline("chain-1")
    (tmp_path / "chain.yaml").write_text(CHAIN.replace("1.0e-4", "3.0e-4"))
    again = draft_stage_anew(folder, pipeline, "tune")
    assert again.job.plan.recipe.training["learning_rate"] == 3e-4
    assert again.job.plan.launch.name == "chain-1.tune"
    (tmp_path / "chain.yaml").write_text("stages: {tune: {recipe: tiny}}")
    with pytest.raises(UserError, match="has other stages than when chain-1 was started"):
        draft_stage_anew(folder, pipeline, "tune")
    (tmp_path / "chain.yaml").unlink()
    assert draft_stage_anew(folder, pipeline, "tune").job.plan.launch.name == "chain-1.tune"


@pytest.mark.parametrize(
    ("before", "after"),
    [('"chain-1.tune"', '"../../etc"'), ('"after": []', '"after": ["align"]'), ("{", "[")],
)
def test_a_damaged_pipeline_is_refused(tmp_path: Path, before: str, after: str) -> None:
    write_pipeline(drafted(tmp_path), ["hpclaunch"])
    file = tmp_path / "runs/chain-1" / PIPELINE_FILE
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(UserError, match="is damaged"):
        find_pipeline("chain-1")


def test_two_pipelines_do_not_share_a_folder(tmp_path: Path) -> None:
    write_pipeline(drafted(tmp_path), ["hpclaunch"])
    assert drafted(tmp_path).name == "chain-2"
    spec, document, text = read_pipeline(tmp_path / "chain.yaml")
    where = Where("local", "chain-1", tmp_path / "runs")
    with pytest.raises(UserError, match="exists already"):
        draft_pipeline(spec, document, text, tmp_path / "chain.yaml", where)


def test_a_pending_path_is_looked_for_once_its_job_runs(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    request = Request(
        mode="local", recipe="tiny", name="r", overrides=(f"model.name={gone}",),
        resources=Resources(cpu_processes=1), runs_dir=tmp_path / "runs",
    )  # fmt: skip
    with pytest.raises(UserError, match="model folder not found"):
        draft(request)
    check(draft(replace(request, pending=(gone,))), lambda _: None)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*/pipeline.yaml")), ids=str)
def test_the_ready_pipelines(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # what Slurm says of its nodes is not asked
    spec, document, text = read_pipeline(file)
    made = draft_pipeline(spec, document, text, file, Where("sbatch", runs_dir=tmp_path / "runs"))
    assert set(spec.stages) == {stage.name for stage in made.stages}
    for stage in made.stages:
        later = [other.name for other in made.stages if stage.name in other.after]
        assert stage.after or later or len(made.stages) == 1 or stage.kind == "eval"
    assert len([line for line in (file.parent / "README.md").read_text().splitlines()
                if line.startswith("hpclaunch ")]) <= 5  # fmt: skip


def test_a_source_of_data_may_be_what_an_earlier_stage_makes(tmp_path: Path) -> None:
    several = "data.name: null, data.sources: [{name: data.jsonl}]"
    made = drafted(tmp_path, CHAIN.replace("data.name: data.jsonl", several))
    tune = made.stages[1]
    assert tune.after == ("prepare",)
    assert tune.job.plan.recipe.data.sources[0].name == str(tmp_path / "data.jsonl")
    looked: list[Recipe] = []
    check_pipeline(made, looked.append)
    assert len(looked) == 1, "only that of the stage whose data is there"


FORESEEN = """
site: generic
resources: {gpus: 4, gpu: a100_80, time: "4:00:00"}
stages:
  tune: {recipe: llama3.1-8b-full, set: {data.name: a/b}}
  align: {recipe: llama3.1-8b-dpo-lora, set: {model.name: "${tune.final}", data.name: a/b}}
  merge: {stage: merge, of: align, resources: {cpu_processes: 1}}
  again: {recipe: llama3.1-8b-dpo-lora, set: {model.name: "${merge.final}", data.name: a/b}}
  gen: {stage: generate, of: again, settings: {prompts: [hi]}, resources: {gpus: 1}}
  small: {stage: quantize, of: merge, settings: {to: nf4}, resources: {gpus: 1}}
  last: {stage: generate, of: small, settings: {prompts: [hi]}, resources: {gpus: 1}}
"""


def test_what_a_stage_takes_is_predicted_by_the_shape_that_the_chain_keeps(tmp_path: Path) -> None:
    made = {each.name: each for each in drafted(tmp_path, FORESEEN, "sbatch").stages}
    shapes = {each: predict(made[each].job.plan, {}) for each in ("tune", "align", "again")}
    parameters = {0 if found is None else found.model.parameters for found in shapes.values()}
    known = {
        name: prediction_of(each.job, each.wanted) for name, each in made.items() if each.wanted
    }
    assert isinstance(known["merge"], Prediction) and isinstance(known["small"], Prediction)
    generated = known["gen"]
    assert isinstance(generated, Prediction) and generated.memory is not None
    (whole,) = parameters
    assert generated.memory.weights > 2 * whole, "the adapter is counted"
    assert isinstance(known["last"], Unknown), "what quantized weights take once loaded"
