"""What a plan says of loading: memory of GPU and node, for shards and for the whole model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_quantized_model_that_needs_most_while_it_loads_is_said(home: Home) -> None:
    """As measured on one H200: docs/evidence/gpu.md."""
    words = ["llama3-8b-qlora", "--nodes", "1", "--gpus", "1", "--gpu", "h200"]
    words += ["training.gradient_checkpointing=true", "fsdp.loading=whole"]
    one = "training.per_device_train_batch_size=1"
    text = home.call("plan", *words, one).out
    assert "FULL_SHARD (ZeRO-3) over 1 GPU, batch 1" in text
    assert "verdict     fits: needs 11.7 GiB per GPU" in text
    assert "loading         11.7 GiB   higher still, while the quantized model is sharded" in text
    found = json.loads(home.call("plan", *words, one, "--json").out)
    assert found["loading_bytes"] > found["memory_bytes"]["total"]
    assert "loading   " not in home.call("plan", *words, "training.max_length=32768").out


def test_qlora_of_70b_fits_cards_that_cannot_hold_it_whole(home: Home) -> None:
    """On 16 A100 of 40 GB, a copy on each node, and on two cards of 24 GB with CPU offload."""
    one = "training.per_device_train_batch_size=1"
    hybrid = ["--nodes", "4", "--gpus", "4", "--gpu", "a100_40", "--sharding", "hybrid"]
    for layout in (hybrid, ["--nodes", "1", "--gpus", "2", "--gpu", "a30", "--offload"]):
        found = json.loads(home.call("plan", "llama3-70b-qlora", *layout, one, "--json").out)
        assert found["fits"] and found["sharded_loading"]
        assert found["loading_bytes"] < found["memory_bytes"]["total"]
    done = home.call("plan", "llama3-70b-qlora", *hybrid, one, "fsdp.loading=whole")
    assert "   of all weights: FSDP shards parameters, and these are none" in done.out
    assert done.code == 2 and "each GPU quantizes the whole model while it loads" in done.out


def test_a_job_that_the_nodes_memory_cannot_hold_is_refused(home: Home) -> None:
    """Loaded whole, a full fine-tune is there in fp32 on each of the four ranks: 4 x 32 GB."""
    full = ["llama3-8b-lora", "--method", "full", "--gpus", "4", "--gpu", "a100_80"]
    assert home.call("plan", *full, "--mem", "100G").code == 0, "each rank reads its shard"
    words = [*full, "fsdp.loading=whole"]
    done = home.call("plan", *words, "--mem", "100G")
    assert done.code == 2
    assert "the 4 ranks of a node need 137 GB of its memory while the model is loaded" in done.out
    assert home.call("plan", *words, "--mem", "200G").code == 0
    refused = home.call("sbatch", *words, "--mem", "100G", "--dry-run")
    assert refused.code == 2 and "a job gets 107 GB" in refused.err
    assert home.call("sbatch", *words, "--mem", "100G", "--dry-run", "--force").code == 0
