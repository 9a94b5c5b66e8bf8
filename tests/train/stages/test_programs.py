"""The programs of stages, as a job runs them: results at the end, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source, StageRecord, StageResults, read_results, stage_text
from hpclaunch.run.stage_settings import Generate, Merge, Quantize, StageSettings
from hpclaunch.stages.source import resolve
from tests.stages.folders import write_run
from tests.train.conftest import random_llama
from tests.train.running import Outcome, program
from tests.train.stages.test_merge import adapter_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a run with an adapter, for a base of its own."""
    home = tmp_path_factory.mktemp("source")
    base = random_llama(home / "base", tied=False)
    root = write_run(home / "run", "")
    adapter_of(base, root / "final")
    return resolve(str(root)).source


def run_stage(folder: Path, settings: StageSettings, source: Source) -> tuple[RunFolder, Outcome]:
    run = RunFolder(folder)
    run.logs.mkdir(parents=True)
    run.stage.write_text(stage_text(StageRecord(sources=(source,), settings=settings)))
    done = program(f"hpclaunch.train.stages.{settings.stage}", str(folder))
    return run, done


def results_of(run: RunFolder, done: Outcome) -> StageResults:
    assert done.code == 0, done.said
    found = read_results(run)
    assert found is not None
    return found


def test_merge_writes_a_model_that_loads(tmp_path: Path, source: Source) -> None:
    from transformers import AutoModelForCausalLM

    run, done = run_stage(tmp_path / "merge", Merge(), source)
    found = results_of(run, done)
    assert found.values["logits"]["kl"] < 1e-4
    assert found.fingerprints == (source.fingerprint,)
    assert AutoModelForCausalLM.from_pretrained(run.final).dtype is not None
    assert not (run.root / ".scratch").exists()


def test_generate_writes_texts(tmp_path: Path, source: Source) -> None:
    prompts = ("What colour is box 3?", "Box")
    run, done = run_stage(tmp_path / "g", Generate(prompts=prompts, max_new_tokens=5), source)
    found = results_of(run, done)
    assert [text["prompt"] for text in found.values["texts"]] == list(prompts)
    assert all(1 <= text["tokens"] <= 5 for text in found.values["texts"])
    assert found.values["tokens_per_second"] > 0
    again, done = run_stage(tmp_path / "b", Generate(prompts=prompts[:1], max_new_tokens=5), source)
    alone = results_of(again, done).values["texts"][0]
    assert alone["text"] == found.values["texts"][0]["text"], "padding changes nothing"


def test_gguf_costs_what_it_says(tmp_path: Path, source: Source) -> None:
    settings = Quantize(to="gguf", gguf_type="q4_0")
    run, done = run_stage(tmp_path / "q", settings, source)
    values = results_of(run, done).values
    assert values["bytes"] == (run.final / values["file"]).stat().st_size < values["bytes_before"]
    change = values["perplexity_after"] / values["perplexity_before"] - 1
    assert 0 < abs(change) < 0.1


def test_a_stage_that_fails_leaves_its_reason_and_no_output(tmp_path: Path, source: Source) -> None:
    gone = Source(name="gone", run=str(tmp_path / "gone"))
    run, done = run_stage(tmp_path / "merge", Merge(), gone)
    assert done.code == 2
    assert "run gone has no final weights" in done.err
    assert json.loads(run.rank_error(0).read_text())["fix"]
    assert not run.final.exists() and not run.results.exists()


@pytest.mark.parametrize(
    ("kind", "processes", "seen", "device"),
    [("cuda:0", 1, 4, "gpu"), ("cuda:1", 4, 4, "cuda:1"), ("cuda:0", 1, 1, "cuda:0"),
     ("cpu", 1, 0, "cpu")],
)  # fmt: skip
def test_an_evaluation_that_is_alone_with_several_gpus_spreads_the_model(
    monkeypatch: pytest.MonkeyPatch, kind: str, processes: int, seen: int, device: str
) -> None:
    import torch

    from hpclaunch.train.stages import eval as program

    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    accelerator = SimpleNamespace(device=torch.device(kind), num_processes=processes)
    assert program._device(accelerator) == device
