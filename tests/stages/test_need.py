"""What a stage takes, what it asks for because of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import Resources
from hpclaunch.predict.memory import GIB
from hpclaunch.render.job import Job
from hpclaunch.run.stage_settings import Eval, Generate, Merge, Quantize, StageSettings
from hpclaunch.slurm.nodes import Sinfo, parse_types
from hpclaunch.stages.draft import (
    StageRequest,
    check_stage,
    draft_stage,
    prediction_of,
    record_of,
)
from hpclaunch.stages.need import Prediction, Unknown
from hpclaunch.stages.source import resolve
from tests.stages.folders import write_model, write_run

LLAMA_8B, LLAMA_70B = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-70B"
WRITE = Generate(prompts=("What is a node?",))
SCORE = Eval(tasks=("even",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("hpclaunch.slurm.commands.available", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wanted_of(settings: StageSettings, model: str, **resources: object) -> StageRequest:
    request = Request(site="generic", resources=Resources(**resources))  # type: ignore[arg-type]  # a table of the test's own
    return StageRequest(settings, (resolve(model),), request)


def predicted(wanted: StageRequest) -> Prediction:
    made = prediction_of(draft_stage(wanted), wanted)
    assert isinstance(made, Prediction)
    return made


def gpus_of(job: Job) -> str | None:
    return next(each.value for each in job.plan.options if each.flag == "--gpus-per-node")


def test_a_model_takes_as_many_gpus_as_hold_it() -> None:
    for gpu, number in (("a100_40", "4"), ("a100_80", "2")):
        assert gpus_of(draft_stage(wanted_of(WRITE, LLAMA_70B, gpu=gpu))) == number
    assert gpus_of(draft_stage(wanted_of(WRITE, LLAMA_8B, gpu="a100_40"))) == "1"
    made = predicted(wanted_of(WRITE, LLAMA_70B, gpu="a100_80"))
    assert made.fits and made.gpus == 2
    assert made.memory is not None and 65 * GIB < made.memory.weights < 67 * GIB


def test_an_evaluation_has_a_copy_a_gpu_unless_one_gpu_cannot_hold_it() -> None:
    large = wanted_of(SCORE, LLAMA_70B, gpus=4, gpu="a100_80")
    small = wanted_of(SCORE, LLAMA_8B, gpus=4, gpu="a100_80")
    assert not record_of(large).parallel and record_of(small).parallel
    assert "accelerate-launch" in draft_stage(small).script
    job = draft_stage(large)
    assert "accelerate-launch" not in job.script
    made = prediction_of(job, large)
    assert isinstance(made, Prediction) and made.fits and made.gpus == 4
    assert made.memory is not None and made.memory.weights < 35 * GIB
    assert "tokens" in dict(made.facts)["requests"]


@pytest.mark.parametrize(
    ("settings", "model", "resources", "words"),
    [
        (WRITE, LLAMA_70B, {"gpus": 1, "gpu": "a100_80"}, "--gpus 2, or a --gpu with more memory"),
        (SCORE, LLAMA_70B, {"gpus": 1, "gpu": "a100_80"}, "more memory, or --batch-size 1"),
        (SCORE, LLAMA_70B, {"nodes": 2, "gpus": 4, "gpu": "a100_80"}, "--nodes 1 --gpus "),
        (Quantize(to="nf4"), LLAMA_70B, {"gpu": "a100_40"}, "a --gpu with more memory"),
        (Merge(), "adapter", {"cpu_processes": 1, "mem": "1G"}, "--mem 2G"),
    ],
)
def test_what_cannot_fit_is_refused_before_it_is_submitted(
    home: Path, settings: StageSettings, model: str, resources: dict[str, object], words: str
) -> None:
    if model == "adapter":
        model = str(write_run(home / "runs/a"))
    wanted = wanted_of(settings, model, **resources)
    job = draft_stage(wanted)
    with pytest.raises(UserError, match="does not fit") as refused:
        check_stage(job, wanted)
    assert words in str(refused.value)


def test_longer_requests_take_more_and_the_longest_is_named() -> None:
    made = predicted(wanted_of(SCORE, LLAMA_8B, gpus=4, gpu="a100_40"))
    facts = dict(made.facts)
    assert made.fits and "tokens each, 8 at once" in facts["requests"]
    one = predicted(wanted_of(replaced(SCORE, batch=1), LLAMA_8B, gpus=4, gpu="a100_40"))
    assert "up to 8,192 tokens and more" in dict(one.facts)["requests"]
    assert "1,000 requests" in facts["time"]


def replaced(settings: Eval, **changed: object) -> Eval:
    import msgspec

    return msgspec.structs.replace(settings, **changed)


def test_what_is_not_known_is_said_and_refuses_nothing(home: Path) -> None:
    folder = write_model(home / "model")
    (folder / "config.json").write_text('{"model_type": "mamba2"}')
    wanted = wanted_of(WRITE, str(folder), gpus=1, gpu="a100_40")
    job = draft_stage(wanted)
    assert isinstance(prediction_of(job, wanted), Unknown)
    unknown = predicted(wanted_of(WRITE, LLAMA_8B, gpus=1))
    assert unknown.fits is None and unknown.usable_bytes is None
    check_stage(job, wanted)


def test_a_job_on_cpus_asks_for_the_memory_that_it_takes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpclaunch.slurm.commands.available", lambda: True)
    monkeypatch.setattr("hpclaunch.slurm.commands.cluster_name", lambda: None)
    nodes = tuple(parse_types("cpu*|16|(null)|(null)|65536|4|infinite"))
    monkeypatch.setattr("hpclaunch.slurm.nodes.sinfo", lambda partition=None: Sinfo(nodes))
    run = str(write_run(home / "runs/a"))
    job = draft_stage(wanted_of(Merge(), run, cpu_processes=1))
    asked = {option.flag: option.value for option in job.plan.options}
    assert asked["--mem"] == "2G"
    named = draft_stage(wanted_of(Merge(), run, cpu_processes=1, mem="8G"))
    assert "--mem=8G" in [str(option) for option in named.plan.options]
    large = wanted_of(Quantize(to="gguf", perplexity=False), LLAMA_70B, cpu_processes=1)
    assert "--mem=9G" in [str(option) for option in draft_stage(large).plan.options]
    without = replace(
        large, request=replace(large.request, resources=Resources(cpu_processes=1, mem="4G"))
    )
    with pytest.raises(UserError, match="--mem 9G"):
        check_stage(draft_stage(without), without)
