"""Notes: each speaks where it should, and is silent where it should not."""

import pytest

from hpclaunch.plan.notes import PlanNote
from hpclaunch.site.schema import Site
from tests.plan.making import GENERIC, launch, plan, recipe

ETHERNET = Site(name="e", network="ethernet", time="1:00:00")


def said(found: tuple[PlanNote, ...]) -> str:
    return " ".join(f"{note.evidence}: {note.fix}" for note in found)


def test_a_sound_plan_gives_none() -> None:
    assert plan(nodes=4, gpus=4).notes == ()


@pytest.mark.parametrize(
    ("overrides", "nodes", "site", "word"),
    [
        (("fsdp.sharding=hybrid",), 1, GENERIC, "hybrid"),
        ((), 2, ETHERNET, "Ethernet"),
        (("fsdp.sharding=grad",), 2, ETHERNET, "Ethernet"),
        (("fsdp.version=1", "method.kind=full"), 1, GENERIC, "deprecated"),
        (("fsdp.version=1",), 1, GENERIC, "adapter matrix"),
        (("checkpoints.every_steps=0",), 1, GENERIC, "no checkpoints"),
        (
            (
                "training.global_batch=32",
                "training.per_device_train_batch_size=2",
                "training.gradient_accumulation_steps=8",
            ),
            1,
            GENERIC,
            "batch 2, accumulation 8 on 4 ranks are 64",
        ),
        (("training.optim=galore_adamw",), 1, GENERIC, "AdamW's 8 bytes are counted"),
        (
            (),
            1,
            Site(name="untimed"),
            "the partition's own holds, which may be minutes: name --time",
        ),
    ],
)
def test_each_speaks_with_a_fix(
    overrides: tuple[str, ...], nodes: int, site: Site, word: str
) -> None:
    found = plan(recipe(*overrides), site=site, nodes=nodes, gpus=4).notes
    assert word in said(found)
    assert all(note.fix for note in found)


@pytest.mark.parametrize(
    ("overrides", "nodes", "site"),
    [
        ((), 1, ETHERNET),
        (("fsdp.sharding=hybrid",), 2, ETHERNET),
        (("fsdp.sharding=none",), 2, ETHERNET),
        (("training.packing=true", "model.attention=sdpa"), 1, GENERIC),
    ],
)
def test_none_speaks_out_of_turn(overrides: tuple[str, ...], nodes: int, site: Site) -> None:
    assert plan(recipe(*overrides), site=site, nodes=nodes, gpus=4).notes == ()


@pytest.mark.parametrize(
    ("name", "gpu", "speaks"),
    [
        ("llama3-70b-qlora", "a100_40", True),
        ("llama3-70b-qlora", "l40s", False),
        ("llama3-70b-qlora", "a100_80", False),
        ("llama3-70b-qlora", None, False),
        ("llama3-8b-qlora", "l4", False),
        ("llama3-70b-lora", "a100_40", False),
    ],
)
def test_a_model_that_cannot_be_quantized_on_the_card_is_told(
    name: str, gpu: str | None, speaks: bool
) -> None:
    whole = plan(recipe("fsdp.loading=whole", name=name), nodes=2, gpus=4, gpu=gpu)
    assert ("quantizes the whole model" in said(whole.notes)) is speaks
    sharded = plan(recipe(name=name), nodes=2, gpus=4, gpu=gpu)
    assert "quantizes the whole model" not in said(sharded.notes)


@pytest.mark.parametrize(
    ("model", "speaks"),
    [
        ("Qwen/Qwen2.5-72B-Instruct", True),
        ("acme/Wizard70b", False),
        ("meta-llama/Llama-3.3-70B-Instruct", True),
        ("acme/no-size", False),
        ("acme/v70-1.5B", False),
        ("70b/small-1b", False),
    ],
)
def test_a_models_size_is_read_off_its_name(model: str, speaks: bool) -> None:
    overrides = (f"model.name={model}", "fsdp.loading=whole")
    made = plan(recipe(*overrides, name="llama3-70b-qlora"), gpus=4, gpu="a100_40")
    assert ("quantizes the whole model" in said(made.notes)) is speaks


def test_an_own_program_is_not_told_about_the_trainers_checkpoints() -> None:
    own = launch(program=("train.py",))
    silent = plan(recipe("checkpoints.every_steps=0"), site=ETHERNET, how=own, nodes=2, gpus=4)
    assert silent.notes == ()
