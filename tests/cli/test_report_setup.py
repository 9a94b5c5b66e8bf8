"""The report's rows on who ran what, from run.json, the recipe and the events."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hpclaunch.cli.report_setup import setup_rows
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record

RECORD = Record(
    name="one",
    created=1_795_801_282.0,
    user="anna",
    host="login1",
    command=["hpclaunch", "sbatch", "llama3-8b-lora", "--gpu", "a100_80"],
    mode="sbatch",
    hpclaunch="0.1.0",
    recipe="llama3-8b-lora",
    site="jean-zay",
    nodes=4,
    processes_per_node=8,
    device="gpu",
    gpu="a100_80",
    job_id="4711",
)
RECIPE = """
name: mine
model: {name: org/model, revision: abc}
data: {name: org/data, split: "train[:5%]"}
method: {kind: qlora, lora: {r: 8}}
fsdp: {sharding: hybrid}
training: {per_device_train_batch_size: 2, gradient_accumulation_steps: 4, max_length: 4096}
"""
EVENTS = (
    {"time": 1_795_801_300.0, "event": "start", "versions": {"torch": "2.9.1", "trl": "0.25.0"}},
    {"time": 1_795_805_200.0, "event": "end"},
)


def test_everything_that_is_known_is_there(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows = dict(setup_rows(RunFolder(tmp_path), RECORD, EVENTS))
    assert rows["model"] == "org/model@abc, bfloat16"
    assert rows["method"] == "QLoRA, rank 8, alpha 32, nf4"
    assert rows["data"] == "org/data, train[:5%]"
    assert rows["recipe"] == "llama3-8b-lora"
    assert rows["layout"].startswith("4 nodes x 8 GPUs (a100_80), HSDP (hybrid")
    assert rows["batch"].startswith("batch 2, accumulation 4: global batch 256, samples of 4,096")
    assert (rows["site"], rows["job"]) == ("jean-zay", "4711 (sbatch)")
    assert rows["started by"].startswith("anna on login1, 2026-1")
    assert rows["wall time"].startswith("1 h 05 min")
    assert rows["versions"] == "hpclaunch 0.1.0, torch 2.9.1, trl 0.25.0"
    assert rows["command"] == "hpclaunch sbatch llama3-8b-lora --gpu a100_80"


def test_what_earns_rewards_and_where_completions_are_written(tmp_path: Path) -> None:
    record = msgspec.structs.replace(RECORD, server_nodes=1)
    (tmp_path / "recipe.yaml").write_text(to_yaml(load("grpo")))
    (tmp_path / "completions.jsonl").write_text("{}\n")
    rows = dict(setup_rows(RunFolder(tmp_path), record, EVENTS))
    assert rows["method"].startswith("grpo, LoRA, rank")
    assert "shared_words" in rows["rewards"]
    assert rows["completions"] == f"{tmp_path}/completions.jsonl"
    assert "(a100_80), and 1 with the server that writes completions, " in rows["layout"]


def test_an_own_program_or_a_lost_recipe_leaves_its_rows_out(tmp_path: Path) -> None:
    own = msgspec.structs.replace(RECORD, program=["python", "my train.py"], nodes=1, gpu=None)
    rows = dict(setup_rows(RunFolder(tmp_path), own, ()))
    assert rows["program"] == "python 'my train.py'"
    assert rows["layout"] == "1 node x 8 GPUs"
    assert not rows.keys() & {"model", "batch", "wall time"}
    lost = dict(setup_rows(RunFolder(tmp_path), RECORD, ({"event": "start"},)))
    assert not lost.keys() & {"model", "batch", "wall time"}
    assert lost["versions"] == "hpclaunch 0.1.0"
