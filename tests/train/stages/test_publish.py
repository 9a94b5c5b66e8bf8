"""What is published: all of the model, a card of what is known, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.run.evaluations import Evaluation, Score, write_evaluation
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import StageRecord, StageResults, stage_text, write_results
from hpclaunch.run.stage_settings import Merge, Publish
from hpclaunch.stages.publish import rows
from hpclaunch.stages.source import resolve
from hpclaunch.train.stages.model_card import Facts, model_card
from hpclaunch.train.stages.publish import publish, scores_of, stages_of
from hpclaunch.train.stages.run import StageRun
from tests.stages.folders import write_model, write_run
from tests.storage import BUCKET, Storage

SECRET = "hf_" + "a1B2" * 8


def head_of(card: str) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return head


def test_a_card_of_nothing_says_nothing() -> None:
    card = model_card(Facts(name="m"))
    assert head_of(card)["tags"] == ["hpclaunch"]
    assert "license" not in card
    for word in ("loss", "energy", "None", "unknown", "Training"):
        assert word not in card


def test_a_card_has_what_the_run_knows() -> None:
    recipe = load("llama3-8b-lora", ["data.name=owner/rows"])
    events: list[dict[str, Any]] = [
        {"event": "start", "versions": {"torch": "2.13"}},
        {"event": "data", "samples": 1200, "tokens": 9000},
        {"event": "step", "step": 1, "loss": 2.0},
        {"event": "step", "step": 80, "loss": 1.25},
        {"event": "eval", "step": 80, "loss": 1.5},
        {"event": "eval", "step": 80, "loss": float("nan")},
    ]
    facts = Facts(
        name="m",
        recipe=recipe,
        events=events,
        figures={"gpu_hours": 3.5, "energy_kwh": 1.25, "energy_counted": True},
        ranks=4,
        gpu="a100_80",
        stages=[("quantize", {"type": "q8_0", "perplexity_before": 7.0, "perplexity_after": 7.1})],
        adapter=True,
        license="mit",
    )
    card = model_card(facts)
    head = head_of(card)
    assert head["license"] == "mit"
    assert head["base_model"] == recipe.model.name
    assert head["datasets"] == ["owner/rows"]
    for text in ("1.2500 at the end", "1.5000 at the end", "3.50", "1.25 kWh", "torch | 2.13",
                 "4 x a100_80", "7.1, 7 before", "q8_0", "1,200"):  # fmt: skip
        assert text in card


def test_a_card_names_each_of_several_datasets_and_what_a_reward_model_is(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("{}\n")
    names = ("{name: owner/one, weight: 2}", "{name: owner/two}", f"{{name: {tmp_path}/own.jsonl}}")
    words = ["data.name=null", "data.validation_split=null", f"data.sources=[{', '.join(names)}]"]
    recipe = load("reward", words)
    card = model_card(Facts(name="m", recipe=recipe))
    assert head_of(card)["datasets"] == ["owner/one", "owner/two"]
    assert head_of(card)["pipeline_tag"] == "text-classification"
    assert "owner/one, split train, each row 2 times" in card and "own.jsonl" in card


def test_local_paths_secrets_and_markup_stay_out(tmp_path: Path) -> None:
    data = tmp_path / "private" / "a|b<script>.jsonl"
    data.parent.mkdir()
    data.write_text('{"text": "x"}\n')
    recipe = load("tiny", [f"data.name={data}", "data.validation_split=null"])
    card = model_card(Facts(name=f"m {SECRET}\n# heading", recipe=recipe, base="/home/me/model"))
    assert "private" not in card and "/home/me" not in card
    assert SECRET not in card
    assert "\\|b&lt;script>" in card
    assert "\n# heading" not in card
    assert "datasets" not in head_of(card)


def test_a_card_has_the_scores_of_these_weights(home: Path) -> None:
    run, merged = RunFolder(home / "run"), RunFolder(home / "merged")
    known: dict[str, Any] = {"created": 1.0, "model": "run", "tasks": ("arc",)}
    score = {"arc": {"acc": Score(value=0.5, stderr=0.01)}}
    base = {"arc": {"acc": Score(value=0.25)}}
    write_evaluation(run, Evaluation(name="e", scores=score, base=base, **known))
    for name, more in (("limited", {"limit": 5}), ("early", {"checkpoint": "step-1"})):
        other = {"arc": {"acc": Score(value=0.9)}}
        write_evaluation(run, Evaluation(name=name, scores=other, **known, **more))
    assert scores_of(run, run, None) == [("arc, acc", "0.5000 ± 0.0100, the base 0.2500")]
    (trained,) = scores_of(merged, run, None)
    assert trained[0] == "arc, acc, as it was trained"
    assert scores_of(run, run, "step-1") == [("arc, acc", "0.9000")]


def stage_run(home: Path, url: str, source: str, **settings: Any) -> StageRun:
    folder = RunFolder(home / "stage")
    folder.root.mkdir(exist_ok=True)
    known = resolve(str(home / source), gguf=True)
    return StageRun(
        folder, StageRecord(sources=(known.source,), settings=Publish(url=url, **settings))
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a run, which has a base of its own, and a token that lies about."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    base = write_model(tmp_path / "models" / "base")
    root = write_run(tmp_path / "run", base_model_name_or_path=str(base))
    log_event(RunFolder(root).events, "step", step=3, total=3, loss=0.5)
    (root / "final" / "training_args.bin").write_bytes(b"pickle")
    (root / "final" / ".env").write_text(SECRET)
    return tmp_path


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report of the training, which takes a second."""
    monkeypatch.setattr("hpclaunch.train.stages.publish._figures", lambda _: {})


@pytest.mark.usefixtures("no_report")
def test_a_folder_gets_the_weights_and_the_card(home: Path) -> None:
    url = f"file://{home}/out/model"
    values = publish(stage_run(home, url, "run"))
    out = home / "out/model"
    names = {path.name for path in out.iterdir()}
    assert names == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert not any(path.is_symlink() for path in out.iterdir())
    assert "0.5000 at the end" in (out / "README.md").read_text()
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert values["local_base"] and values["files"] == sorted(names)
    with pytest.raises(UserError, match="--replace"):
        publish(stage_run(home, url, "run"))
    publish(stage_run(home, url, "run", replace=True))


@pytest.mark.usefixtures("no_report")
def test_what_is_no_part_of_the_model_stays(home: Path) -> None:
    final = home / "run/final"
    for name in ("optimizer.safetensors", "credentials.json", "token.txt", "train.log", "id_rsa"):
        (final / name).write_text(SECRET)
    (final / "tokenizer.json").write_text("{}")
    values = publish(stage_run(home, f"file://{home}/out", "run"))
    names = {path.name for path in (home / "out").iterdir()}
    assert names == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
    }  # fmt: skip
    assert (
        "credentials.json" in values["left_out"] and "optimizer.safetensors" in values["left_out"]
    )
    assert "training_args.bin" in dict(rows(values))["left out"]
    for path in (home / "out").iterdir():
        assert SECRET not in path.read_text()


def test_no_file_of_mine_leaves_by_a_link_or_as_a_text(home: Path) -> None:
    final, own = home / "run/final", home / "own"
    own.write_text("only I may read this")
    template = final / "chat_template.jinja"
    template.symlink_to(own)
    with pytest.raises(UserError, match="is a link to"):
        publish(stage_run(home, f"file://{home}/out", "run"))
    template.unlink()
    template.write_text(f"{{# {SECRET} #}}")
    with pytest.raises(UserError, match="holds a secret") as refused:
        publish(stage_run(home, f"file://{home}/out", "run"))
    assert SECRET not in str(refused.value)
    assert not (home / "out").exists()


@pytest.mark.usefixtures("no_report")
def test_the_hubs_cache_has_links_to_its_own_files(home: Path) -> None:
    snapshot = write_model(home / "models--a--b/snapshots/abc")
    (home / "models--a--b/blobs").mkdir()
    blob = home / "models--a--b/blobs/f00"
    (snapshot / "model.safetensors").rename(blob)
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00")
    publish(stage_run(home, f"file://{home}/out", str(snapshot)))
    assert (home / "out/model.safetensors").read_bytes() == b"weights"


@pytest.mark.usefixtures("no_report")
def test_s3_has_the_config_last(
    home: Path, server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    run = stage_run(home, f"s3://{BUCKET}/published", "run")
    server.refuse(True)
    try:
        with pytest.raises(PermissionError):
            publish(run)
    finally:
        server.refuse(False)
    assert server.files("published/") == {}
    publish(run)
    there = server.files("published/")
    assert set(there) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert there["adapter_model.safetensors"] == len(b"weights")


def test_a_merged_model_has_the_card_of_its_training(home: Path) -> None:
    merged = write_run(home / "merged", "model")
    source = resolve(str(home / "run")).source
    text = stage_text(StageRecord(sources=(source,), settings=Merge()))
    RunFolder(merged).stage.write_text(text)
    write_results(RunFolder(merged), StageResults(stage="merge", seconds=1.0, values={"bytes": 7}))
    assert stages_of(RunFolder(merged)) == [("merge", {"bytes": 7})]
    publish(stage_run(home, f"file://{home}/out", "merged"))
    card = (home / "out/README.md").read_text()
    assert "| merged |" in card
    assert "0.5000 at the end" in card
    assert head_of(card)["library_name"] == "transformers"


def test_stages_that_go_round_in_a_circle_end(home: Path) -> None:
    run = RunFolder(write_run(home / "circle", "model"))
    known = resolve(str(run.root))
    run.stage.write_text(stage_text(StageRecord(sources=(known.source,), settings=Merge())))
    assert len(stages_of(run)) <= 20
    assert resolve(str(run.root)).recipe is None
