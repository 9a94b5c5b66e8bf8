"""`hpclaunch plan`, and what sbatch says and refuses by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.run.events import log_event
from monitors.records import GpuSample
from tests.cli.running import Home
from tests.monitors.recorded import GPU_A, GPU_B, start, tick, write_samples
from tests.predict.shapes import SHAPES

A100 = ["--gpus", "4", "--gpu", "a100_40"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def planned(home: Home, *words: str) -> dict[str, Any]:
    done = home.call("plan", *words, "--json")
    assert done.code in {0, 2}, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_the_first_job_of_the_readme_fits(home: Home) -> None:
    done = home.call("plan", "--nodes", "4", *A100, "--network", "200gb", "--compare")
    assert done.code == 0, done.err
    assert "fits: needs 27.9 GiB per GPU of 37.2 GiB usable" in done.out
    assert "207,093,760 trainable (lora)" in done.out
    assert "*  FULL_SHARD (ZeRO-3), batch 2, accumulation 1" in done.out
    assert home.files() == set(), "nothing is written"


def test_what_is_not_known_is_said_and_not_zero(home: Home) -> None:
    done = home.call("plan", "--nodes", "4", *A100)
    assert "the network between nodes: give it by --network" in done.out
    assert "exposed communication unknown" in done.out
    found = planned(home, "--nodes", "4", *A100)
    assert (found["step"]["seconds"], found["seconds"], found["gpu_hours"]) == (None, None, None)
    assert found["step"]["compute"] > 1
    blind = home.call("plan", "--nodes", "4", "--gpus", "4")
    assert blind.code == 0
    assert "the GPU type is unknown" in blind.out
    assert "the GPU: give its type by --gpu" in blind.out


def test_small_micro_batches_are_told_to_wait_for_launches(home: Home) -> None:
    one = ["--model", "meta-llama/Llama-3.2-1B", "--method", "lora", "--nodes", "1", "--gpus", "1",
           "--gpu", "h100", "training.global_batch=2", "training.per_device_train_batch_size=1",
           ]  # fmt: skip
    short = home.call("plan", *one, "training.max_length=512", "--compare")
    assert short.code == 0, short.err
    assert "of the compute is spent on kernel launches" in short.out
    assert "a step waiting for kernel launches" in short.out
    step = planned(home, *one, "training.max_length=512")["step"]
    assert 0.5 * step["compute"] < step["launching"] < step["compute"]
    long = home.call("plan", *one, "training.max_length=8192")
    assert "to be launched" not in long.out
    assert planned(home, *one, "training.max_length=8192")["step"]["launching"] == 0


def test_what_a_mixture_of_experts_rests_on_is_said(home: Home) -> None:
    one = ["--method", "lora", "--nodes", "1", "--gpus", "8", "--gpu", "h100"]
    experts = planned(home, "--model", "mistralai/Mixtral-8x7B-v0.1", *one)
    assert any("expert's products" in each for each in experts["assumed"])
    dense = planned(home, "--model", "meta-llama/Llama-3.2-1B", *one)
    assert not any("expert" in each for each in dense["assumed"])


def test_what_cannot_fit_exits_with_2_and_is_not_submitted(home: Home) -> None:
    done = home.call("plan", "--nodes", "1", "--gpus", "1", "--gpu", "t4")
    assert done.code == 2
    assert "does not fit" in done.out
    words = ["sbatch", "llama3-70b-lora", "--gpus", "1", "--gpu", "l40s", "--dry-run"]
    refused = home.call(*words)
    assert refused.code == 2
    assert "does not fit" in refused.err and "--force" in refused.err
    assert len(refused.err.splitlines()) == 1
    insisted = home.call(*words, "--force")
    assert insisted.code == 0
    assert insisted.out.startswith("#!/bin/bash")


def test_sbatch_says_in_a_line_what_it_will_take(home: Home) -> None:
    done = home.call("sbatch", "--nodes", "4", *A100, "--dry-run")
    assert "hpclaunch: plan: fits: needs 27.9 GiB per GPU of 37.2 GiB usable" in done.err


def test_long_samples_fit_up_to_a_length(home: Home) -> None:
    words = ["llama3-8b-lora", *A100, "training.max_length=98304"]
    done = home.call("plan", *words)
    assert done.code == 2, "what is asked for decides"
    found = planned(home, *words)
    assert found["fits"] is False
    longest = found["longest_sample_tokens"]
    assert f"does not fit at 98,304 tokens; up to {longest:,} do: needs" in done.out
    refused = home.call("sbatch", *words, "--dry-run")
    assert refused.code == 2
    assert f"training.max_length={longest}" in refused.err and "--force" in refused.err
    assert 4096 < longest < 98304
    assert planned(home, *words[:-1], f"training.max_length={longest}")["fits"] is True
    assert planned(home, *words[:-1], f"training.max_length={longest + 64}")["fits"] is False


def test_auto_takes_the_fastest_that_fits(home: Home) -> None:
    words = ["llama3-8b-lora", "--nodes", "2", *A100, "--network", "10gbe"]
    before = planned(home, *words)
    after = planned(home, *words, "--sharding", "auto", "--batch", "auto")
    assert after["layout"]["sharding"] in {"hybrid", "none"}
    assert after["seconds"] < before["seconds"] / 2
    for found in (before, after):
        layout = found["layout"]
        assert layout["micro_batch_size"] * layout["gradient_accumulation_steps"] == 4
    # The same words reach the recipe of a job.
    (home.folder / "sites").mkdir(parents=True)
    site = home.folder / ".config/hpclaunch/sites"
    site.mkdir(parents=True)
    (site / "here.yaml").write_text("name: here\nextends: generic\nnetwork_gb_s: 1.25\n")
    asked = home.call("sbatch", *words[:-2], "--site", "here", "--dry-run")
    assert "hpclaunch: faster: --sharding auto" in asked.err and "times as fast" in asked.err
    assert before["auto"]["factor"] > 2 and after["auto"] is None
    chosen = home.call(
        "sbatch", *words[:-2], "--site", "here", "--sharding", "auto", "--batch", "auto",
        "--dry-run", "--json",
    )  # fmt: skip
    assert chosen.code == 0, chosen.err
    recipe = json.loads(chosen.out)["recipe"]
    assert f"sharding: {after['layout']['sharding']}" in recipe
    assert f"per_device_train_batch_size: {after['layout']['micro_batch_size']}" in recipe


def test_gpus_that_a_ready_recipe_s_batch_cannot_be_divided_over_get_the_nearest(
    home: Home,
) -> None:
    words = ["llama3-70b-lora", "--nodes", "3", *A100]
    for command in (["plan", *words], ["sbatch", *words, "--dry-run"]):
        refused = home.call(*command)
        assert refused.code == 2
        (line,) = refused.err.splitlines()
        assert "32 cannot be divided over 12 ranks" in line
        assert "training.global_batch=24 or 36" in line and "8 or 16 ranks" in line
        assert home.call(*command, "training.global_batch=36").code == 0
    own = home.call("sbatch", *words, "--dry-run", "--", "train.py")
    assert own.code == 0, "an own program has a batch of its own"


def test_a_range_of_nodes(home: Home) -> None:
    words = ["llama3-70b-lora", "--nodes", "1..4", *A100, "--network", "200gb", "--mem", "64G"]
    done = home.call("plan", *words, "--activation-checkpointing")
    assert done.code == 0, done.err
    assert "smallest that fits: 2 nodes" in done.out
    assert "worth it up to" in done.out
    (command,) = [line for line in done.out.splitlines() if line.startswith("for 2 nodes: ")]
    typed = command.removeprefix("for 2 nodes: hpclaunch ").split()
    assert typed[0] == "sbatch" and "--mem" in typed
    assert "plan: fits" in home.call(*typed, "--dry-run").err, "it can be typed as it stands"
    (table,) = json.loads(
        home.call(
            "plan", "--nodes", "1..64", *A100, "--network", "200gb", "--mem", "64G", "--json"
        ).out
    )
    assert [point["nodes"] for point in table["points"]] == [1, 2, 4, 8, 16, 32, 64]
    assert table["points"][0]["fits"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "0"], "neither a number from 1 to 9999"),
        (["--nodes", "4..2"], "runs backwards"),
        (["--nodes", "two"], "neither a number from 1 to 9999"),
        (["--gpu", "a1000"], "no such GPU type"),
        (["--gpu", "a100"], "which one? It comes as a100_40 and a100_80"),
        (["--gpus", "100000"], "100000 is not in the range"),
        (["training.max_length=100000000000"], "1 to 16777216"),
        (["training.per_device_train_batch_size=1000000000"], "1 to 65536"),
        (["training.num_train_epochs=1e300"], "1000000"),
        (["method.lora.r=10000000"], "65536"),
        (["--network", "1000000gb"], "more than any node has"),
        (["--mem", "plenty"], "is no amount of memory"),
        (["--network", "fast"], "is no rate"),
        (["--nodes", "1..4"], "needs the GPU type"),
        (["--model", "nobody/knows-this"], "nothing is known of the model's size"),
        (["--sharding", "auto"], "auto needs to know the GPU"),
        (["--time", "soon", "--gpu", "a100_80", "--gpus", "8"], "not in Slurm's form"),
    ],
)
def test_bad_input_is_one_line(home: Home, words: list[str], said: str) -> None:
    variables = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = Home(home.folder, variables).call("plan", *words)
    assert done.code == 2, done.out
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


def test_local_data_gives_the_number_of_steps(home: Home) -> None:
    (home.folder / "mine.jsonl").write_text('{"text": "a"}\n' * 100)
    words = ["llama3-8b-lora", "--dataset", "mine.jsonl", *A100, "training.num_train_epochs=2"]
    assert planned(home, *words)["steps"] == 2, "packed, all samples fit into one row"
    words.append("training.packing=false")
    assert planned(home, *words)["steps"] == 2 * -(-100 // (8 * 4))
    assert planned(home, *words, "training.max_steps=7")["steps"] == 7
    assert "1 job of 3:00:00" in home.call("plan", *words, "--time", "3:00:00").out


def test_what_was_predicted_is_held_against_what_was_measured(home: Home) -> None:
    folder = home.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPES["small"]))
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).touch()
    words = ["sbatch", "llama3-8b-lora", "--model", "./model", *A100, "--name", "held"]
    written = home.call(*words, "--no-submit")
    assert written.code == 0, written.err
    assert "hpclaunch: plan: fits" in written.err
    prediction = json.loads((home.runs / "held/run.json").read_text())["prediction"]
    assert 0 < prediction["tensors"] < prediction["total"]
    before = home.call("report", "held").out
    predicted = f"{prediction['tensors'] / 2**30:.1f} GiB predicted"
    assert f"unknown of tensors at most on the fullest GPU, {predicted}" in before
    log_event(home.runs / "held/events.jsonl", "memory", allocated=3 * 2**30, reserved=4 * 2**30)
    assert "3.0 GiB of tensors at most on the fullest GPU" in home.call("report", "held").out
    peaks = {"allocated": 3 * 2**30, "reserved": 4 * 2**30, "loading_allocated": 5 * 2**30}
    log_event(home.runs / "held/events.jsonl", "memory", **peaks)
    assert "5.0 GiB of tensors at most on the fullest GPU" in home.call("report", "held").out
    said = json.loads(home.call("report", "held", "--json").out)
    assert said["prediction"] == prediction
    assert {name: said["training"][name] for name in peaks} == peaks


def test_the_share_of_the_cards_peak_is_reported(home: Home) -> None:
    folder = home.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPES["small"]))
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).touch()
    words = ["sbatch", "llama3-8b-lora", "--model", "./model", "--name", "held", "--no-submit"]
    assert home.call(*words, "--gpus", "2").code == 0
    record = json.loads((home.runs / "held/run.json").read_text())
    assert record["gpu"] is None, "the card is known by its name alone"
    flops = record["prediction"]["token_flops"]
    weights = architecture(SHAPES["small"]).active_parameters
    assert 4 * weights < flops < 6 * weights, "LoRA: there, half of the way back, and attention"
    samples = [tick(n, GpuSample(0), GpuSample(1)) for n in range(5)]
    write_samples(home.runs / "held/metrics", [start(GPU_A, GPU_B), *samples])
    for step in (1, 2):
        log_event(home.runs / "held/events.jsonl", "step", step=step, seconds=2.0, tokens=400_000)
    done = home.call("report", "held", "--json")
    figures = json.loads(done.out)["metrics"]["figures"]
    assert figures["tokens_per_second"] == pytest.approx(200_000)
    assert figures["mfu"] == pytest.approx(200_000 * flops / (2 * 312e12))
    share = f"{figures['mfu']:.0%} of the bf16 peak"
    assert share in home.call("report", "held").out
    assert share in (home.runs / "held/report.html").read_text()


def test_a_range_over_an_unknown_network_claims_no_best_number(home: Home) -> None:
    words = ["plan", "llama3-8b-lora", "--nodes", "1..3", "--gpus", "4", "--gpu", "a100_80"]
    unknown = home.call(*words).out
    assert "worth it" not in unknown
    assert "the time across nodes is unknown: name the network with --network" in unknown
    assert "worth it up to: " in home.call(*words, "--network", "200gb").out


def test_a_kind_that_nobody_can_ask_for_is_told(home: Home) -> None:
    model = home.folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(SHAPES["small"]))
    for name in ("model.safetensors", "tokenizer.json"):
        (model / name).touch()
    words = ["sbatch", "llama3-8b-lora", "--model", "./model", "--no-submit", *A100]
    assert "asks for GPUs by count, and not for a100_40" in home.call(*words).err
    site = ["--site", "isambard-ai", "--gpu", "gh200", "--time", "1:00:00"]
    assert "by count" not in home.call(*words, *site).err


def test_a_server_s_node_takes_gpu_hours(home: Home) -> None:
    site = home.folder / ".config/hpclaunch/sites"
    site.mkdir(parents=True)
    (site / "here.yaml").write_text("name: here\nextends: generic\nnetwork_gb_s: 25\n")
    words = [
        "llama3.1-8b-grpo-lora", "method.grpo.server.enabled=true", "training.max_steps=100",
        "--nodes", "2", *A100, "--site", "here",
    ]  # fmt: skip
    found = planned(home, *words)
    assert found["gpu_hours"] == pytest.approx(found["seconds"] / 3600 * 12)
    assert found["server_gpu_hours"] == pytest.approx(found["gpu_hours"] / 3)
    shown = f"{found['gpu_hours']:.1f} GPU-hours, {found['gpu_hours'] / 3:.1f} of the server's node"
    assert shown in home.call("plan", *words).out
    assert shown in home.call("sbatch", *words, "--dry-run").err
