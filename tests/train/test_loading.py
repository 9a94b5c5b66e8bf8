"""Sharded loading leaves every rank with what loading whole and sharding leaves it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.train import model
from hpclaunch.train.loading.ahead import quantize
from tests.train.conftest import Done, short, train
from tests.train.running import launch, losses, make_run
from tests.train.test_objective_runs import run

pytestmark = pytest.mark.train

BF16 = "model.dtype=bfloat16"
SMALL: dict[str, Any] = {
    "vocab_size": 67, "hidden_size": 36, "intermediate_size": 35, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
EXPERTS = {
    "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 16,
}  # fmt: skip


def saved(folder: Path, family: str, **more: Any) -> Path:
    """Save a random model in several files."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**SMALL, **more})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="40KB")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return each rank's comparison of all cases."""
    base = tmp_path_factory.mktemp("both")
    tied = saved(base / "tied", "llama", tie_word_embeddings=True)
    biased = saved(base / "biased", "qwen2", tie_word_embeddings=False)
    experts = saved(base / "experts", "qwen3_moe", **EXPERTS)
    transposed = saved(base / "transposed", "gpt2")
    full = ["method.kind=full", BF16]
    cases = {
        "full, tied": [f"model.name={tied}", *full],
        "full, biases": [f"model.name={biased}", *full],
        "full, experts": [f"model.name={experts}", *full],
        "lora, experts": [f"model.name={experts}", BF16],
        "lora, tied": [f"model.name={tied}", BF16],
        "lora, head trained": [
            f"model.name={biased}", BF16, "method.lora.modules_to_save=[lm_head]",
            "method.lora.bias=all",
        ],
        "qlora": [f"model.name={biased}", BF16, "method.kind=qlora"],
        "qlora, single, fp4": [
            f"model.name={tied}", BF16, "method.kind=qlora", "method.quantization.double=false",
            "method.quantization.type=fp4",
        ],
        "qlora, head trained": [
            f"model.name={biased}", BF16, "method.kind=qlora",
            "method.lora.modules_to_save=[lm_head]",
        ],
        "qlora, ahead": [f"model.name={tied}", BF16, "method.kind=qlora"],
        "qlora, transposed": [f"model.name={transposed}", BF16, "method.kind=qlora"],
        "lora, tokens": [
            f"model.name={biased}", BF16,
            "method.lora.trainable_token_indices={embed_tokens: [3, 5], lm_head: [5]}",
        ],
    }  # fmt: skip
    ahead = load("tiny", [*cases["qlora, ahead"], "fsdp.loading=sharded"])
    deferred = model.load_model(ahead, model.source(ahead.model), "sdpa", 10, 2)
    assert quantize(deferred, "cpu").startswith("4-bit weights made in ")
    assert quantize(deferred, "cpu").startswith("4-bit weights are there already: ")
    folder = make_run(base / "run", [BF16])
    deep = {"num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 512}
    large = saved(base / "large", "llama", **deep)
    small = {**EXPERTS, "num_hidden_layers": 8, "num_experts": 8}
    peaks = {
        "peak, full": [f"model.name={large}", *full],
        "peak, experts": [f"model.name={saved(base / 'many', 'qwen3_moe', **small)}", *full],
        "peak, qlora": [f"model.name={large}", BF16, "method.kind=qlora"],
        "peak, qlora again": [f"model.name={large}", BF16, "method.kind=qlora"],
    }
    (folder.root / "cases.json").write_text(json.dumps(cases), "utf-8")
    (folder.root / "peaks.json").write_text(json.dumps(peaks), "utf-8")
    outcome = launch(folder, 2, program=("-m", "tests.train.load_both_ways"))
    assert outcome.code == 0, outcome.said
    return [json.loads((folder.root / f"rank-{n}.json").read_text("utf-8")) for n in range(2)]


@pytest.mark.parametrize(
    "case",
    ["full, tied", "full, biases", "full, experts", "lora, experts", "lora, tied",
     "lora, head trained", "lora, tokens", "qlora", "qlora, single, fp4", "qlora, head trained",
     "qlora, ahead"],
)  # fmt: skip
def test_each_rank_holds_the_same_bit_for_bit(compared: list[dict[str, Any]], case: str) -> None:
    for rank in compared:
        found = rank[case]
        assert found["deferred"] and found["log"][0] == "each rank reads its own shard"
        assert found["different"] == [] and found["parameters"] > 10
        assert found["optimized"], "the optimizer has the sharded parameters"


@pytest.mark.parametrize(
    ("case", "most"), [("full", 1.02), ("experts", 1.1), ("qlora", 1.15), ("qlora again", 1.02)]
)
def test_a_rank_holds_hardly_more_on_the_way_than_in_the_end(
    compared: list[dict[str, Any]], case: str, most: float
) -> None:
    """Of what PyTorch allocates; mapped files do not count."""
    for rank in compared:
        found = rank[f"peak, {case}"]
        print(f"{case}: {found['peak']:,} bytes at the peak, {found['end']:,} in the end")
        assert 0 < found["end"] <= found["peak"] < most * found["end"]


KEPT = ", in 4 bits as an earlier start kept them"


@pytest.mark.parametrize("case", ["qlora, head trained", "qlora, ahead"])
def test_weights_that_were_made_before_are_read(compared: list[dict[str, Any]], case: str) -> None:
    """By another recipe over the same model, or by `prepare --quantize`."""
    for rank in compared:
        assert rank[case]["log"][1].endswith(KEPT) and len(rank[case]["log"]) == 2


@pytest.mark.parametrize("case", ["qlora", "qlora, single, fp4"])
def test_a_later_start_reads_the_4_bit_weights_that_were_kept(
    compared: list[dict[str, Any]], case: str
) -> None:
    """Each rank its own slices of a checkpoint that plain Transformers loads, too."""
    import torch
    from transformers import AutoModelForCausalLM

    for rank in compared:
        found = rank[case]
        assert any(line.startswith("4-bit weights kept for later") for line in found["log"])
        assert found["different_again"] == []
        assert found["log_again"][1].endswith(KEPT)
    kept = next(line for line in compared[0][case]["log"] if line.startswith("4-bit weights kept"))
    folder = Path(kept.partition(" in ")[2].rpartition(", in ")[0])
    recipe = load("tiny", compared[0][case]["overrides"])
    options: dict[str, Any] = {"dtype": torch.bfloat16, "device_map": "cpu"}
    settings = model.quantization(recipe.method.quantization, torch.bfloat16)
    tokens = torch.arange(1, 33).reshape(2, 16)
    logits = [
        AutoModelForCausalLM.from_pretrained(where, **options, **more).eval()(tokens).logits
        for where, more in ((folder, {}), (recipe.model.name, {"quantization_config": settings}))
    ]
    assert logits[0].isfinite().all() and torch.equal(*logits)


def test_transposed_4_bit_weights_are_loaded_whole(compared: list[dict[str, Any]]) -> None:
    """GPT-2 holds matrices the other way round, which a square one does not show."""
    for rank in compared:
        found = rank["qlora, transposed"]
        assert not found["deferred"] and found["different"] == []
        assert found["log"] == [
            "loaded whole: transformer.h.0.attn.c_attn was a Conv1D, and is transposed"
        ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random model with 67 rows of embeddings."""
    return saved(tmp_path_factory.mktemp("small") / "small", "llama")


def loaded(folder: Path, vocab_size: int, fsdp_version: int, *more: str) -> tuple[Any, list[str]]:
    """Return a model and what was logged of its loading."""
    lines: list[str] = []
    recipe = load("tiny", [f"model.name={folder}", BF16, *more])
    where = model.source(recipe.model)
    return model.load_model(recipe, where, "sdpa", vocab_size, fsdp_version, lines.append), lines


@pytest.mark.parametrize(
    ("vocab_size", "fsdp_version", "reason"),
    [
        (69, 2, "the embedding gets 2 new rows"),
        (67, 0, "one process does not shard"),
        (67, 1, "FSDP 1 shards what is loaded"),
    ],
)
def test_what_cannot_be_sharded_is_loaded_whole_and_says_so(
    small: Path, vocab_size: int, fsdp_version: int, reason: str
) -> None:
    found, lines = loaded(small, vocab_size, fsdp_version)
    assert lines == [f"loaded whole: {reason}"]
    assert not any(each.is_meta for each in found.parameters())
    assert found.get_input_embeddings().weight.shape[0] == vocab_size


def test_sharded_loading_that_cannot_be_is_refused(small: Path) -> None:
    with pytest.raises(UserError, match="2 new rows"):
        loaded(small, 69, 2, "fsdp.loading=sharded")


def test_libraries_with_other_private_functions_load_whole(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import core_model_loading

    rename = core_model_loading.rename_source_key

    def other(*arguments: Any) -> Any:
        return rename(*arguments)

    monkeypatch.setattr(core_model_loading, "rename_source_key", other)
    found, lines = loaded(small, 67, 2)
    assert lines == ["loaded whole: the installed transformers has another rename_source_key"]
    assert not any(each.is_meta for each in found.parameters())


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_the_final_weights_are_those_of_whole_loading(
    method: str, request: pytest.FixtureRequest, tiny: Path, rows: Path, tmp_path: Path
) -> None:
    """Six steps and two checkpoints after it, in files of the same bytes."""
    sharded: Done = request.getfixturevalue(f"{method}_run")
    assert "weights: each rank reads its own shard" in sharded.outcome.out
    assert "weights: read in" in sharded.outcome.out
    overrides = [*short(tiny, rows), f"method.kind={method}", BF16, "fsdp.loading=whole"]
    whole = train(tmp_path / "whole", overrides)
    assert "weights: loaded whole: fsdp.loading is whole" in whole.outcome.out
    assert losses(sharded.folder) == losses(whole.folder)
    (file,) = sharded.folder.final.glob("*.safetensors")
    assert file.read_bytes() == (whole.folder.final / file.name).read_bytes()


@pytest.mark.parametrize(("objective", "method"), [("dpo", "full"), ("reward", "lora")])
def test_other_objectives_end_with_the_same_weights(
    tiny: Path, tmp_path: Path, objective: str, method: str
) -> None:
    """A reference model is read in shards, too; a new head of scores starts the same."""
    words = (f"method.kind={method}", BF16, "checkpoints.every_steps=0")
    both = [
        run(tmp_path / way, tiny, objective, *words, f"fsdp.loading={way}")
        for way in ("auto", "whole")
    ]
    lines = ["weights"] + ["reference model"] * (objective == "dpo")
    for line in lines:
        assert f"{line}: each rank reads its own shard" in both[0].outcome.out, both[0].outcome.said
        assert f"{line}: loaded whole" in both[1].outcome.out
    assert losses(both[0].folder) == losses(both[1].folder)
    (file,) = both[0].folder.final.glob("*.safetensors")
    assert file.read_bytes() == (both[1].folder.final / file.name).read_bytes()
