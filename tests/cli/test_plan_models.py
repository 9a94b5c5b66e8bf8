"""`hpclaunch plan` of models by their configs: unreadable ones, unloadable ones, simulated ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import Home
from tests.predict.shapes import SHAPES

A100 = ["--gpus", "4", "--gpu", "a100_40"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mamba"}, "family 'mamba'"),
        ({"model_type": "mistral3"}, "does not take 'mistral3'"),
        ({**SHAPES["8b"], "hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"model_type": "llama", "vocab_size": None}, "vocab_size is missing"),
        ([1, 2], "is no mapping"),
    ],
)
def test_a_config_that_cannot_be_read(home: Home, config: object, said: str) -> None:
    folder = home.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    done = home.call("plan", "--model", "./model", *A100)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_model_that_the_trainer_cannot_load_is_not_submitted(home: Home) -> None:
    folder = home.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral3"}))
    (folder / "model.safetensors").touch()
    words = ["sbatch", "llama3-8b-lora", "--model", "./model", *A100, "--dry-run"]
    refused = home.call(*words)
    assert refused.code == 2
    assert "does not take 'mistral3'" in refused.err and len(refused.err.splitlines()) == 1
    assert home.call(*words, "--force").code == 0


NEOX = {
    "model_type": "gpt_neox", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 512, "max_position_embeddings": 128,
}  # fmt: skip


@pytest.fixture
def simulating(tmp_path: Path, forked_trainings: dict[str, str]) -> Home:
    """A home whose simulations have their imports behind them."""
    return Home(tmp_path, forked_trainings)


def test_exact_simulates_a_family_that_no_closed_form_counts(simulating: Home) -> None:
    home = simulating
    (home.folder / "model").mkdir()
    (home.folder / "model/config.json").write_text(json.dumps(NEOX))
    words = ["plan", "--model", "./model", "--method", "lora", *A100, "training.max_length=128"]
    assert "use plan --exact" in home.call(*words).err
    done = home.call(*words, "--exact", "--json", timeout=200)
    if done.code != 0:
        assert "pip install" in done.err
        return
    found = json.loads(done.out)
    assert (found["weights"], found["trained"]) == (165_632, 32_768)
    assert found["fits"] is True and found["step"] is None
    assert 0 < found["simulated_bytes"] < found["memory_bytes"]["total"]


WHOLE = "training.gradient_checkpointing=true"


def test_exact_needs_the_training_packages_or_says_so(simulating: Home) -> None:
    home = simulating
    (home.folder / "model").mkdir()
    (home.folder / "model/config.json").write_text(json.dumps(SHAPES["small"]))
    done = home.call("plan", "--model", "./model", *A100, "--exact", "--json", WHOLE, timeout=200)
    if done.code == 0:
        found = json.loads(done.out)
        held = found["memory_bytes"]
        tensors = held["total"] - held["allocator"] - held["context"]
        assert found["simulated_bytes"] == pytest.approx(tensors, rel=0.03)
    else:
        assert "pip install" in done.err


def test_a_model_of_unknown_size_is_said_where_it_is_submitted(home: Home) -> None:
    words = ["sbatch", "llama3-8b-lora", "--model", "nobody/knows-this", *A100, "--dry-run"]
    done = home.call(*words)
    assert done.code == 0
    assert "plan: unknown: nothing is known of the model's size" in done.err


CHAIN = """
stages:
  train: {recipe: llama3-70b-lora, resources: {gpus: 1, gpu: l40s}}
  merge: {stage: merge, of: train}
"""


def test_a_chain_is_refused_for_a_stage_that_cannot_fit(home: Home) -> None:
    (home.folder / "chain.yaml").write_text(CHAIN)
    refused = home.call("pipeline", "chain.yaml", "--dry-run")
    assert refused.code == 2
    assert "stage train: the plan does not fit" in refused.err and "--force" in refused.err
    assert "merge" in refused.out, "what would be submitted is shown"
    assert home.call("pipeline", "chain.yaml", "--dry-run", "--force").code == 0
