"""What objectives add to a step's memory and time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpclaunch.predict.families import architecture
from hpclaunch.predict.from_recipe import training_step_of
from hpclaunch.predict.memory import memory
from hpclaunch.predict.objective import ObjectiveWork, objective_work
from hpclaunch.predict.step_time import Hardware, step_time
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.load import load
from tests.predict.shapes import SHAPES

GPU = Hardware(1, 1, 312, 2039, None, None)


@pytest.mark.parametrize(
    ("words", "work"),
    [
        (["dpo"], ObjectiveWork(2, 1)),
        (["dpo", "method.kind=full"], ObjectiveWork(2, 1, reference_copy=True)),
        (
            ["dpo", "method.kind=full", "training.precompute_ref_log_probs=true"],
            ObjectiveWork(2, 0),
        ),
        (["kto"], ObjectiveWork(1, 3)),
        (["kto", "training.loss_type=apo_zero_unpaired"], ObjectiveWork(1, 1)),
        (["kto", "training.precompute_ref_log_probs=true"], ObjectiveWork(1, 1)),
        (["reward"], ObjectiveWork(2, 0, scores=True)),
        (["pretrain"], ObjectiveWork()),
        (["tiny"], ObjectiveWork()),
        (
            ["grpo"],
            ObjectiveWork(generated_tokens=24, generated_sequences=16, generations_per_step=1.0),
        ),
        (["grpo", "method.grpo.server.enabled=true"], ObjectiveWork(forward_passes=1)),
        (
            ["grpo", "method.kind=full", "training.beta=0.1", "training.steps_per_generation=2"],
            ObjectiveWork(
                1, 2, True, generated_tokens=24, generated_sequences=32, generations_per_step=0.5
            ),
        ),
    ],
)
def test_each_objective(words: list[str], work: ObjectiveWork) -> None:
    assert objective_work(load(words[0], words[1:])) == work


def step(**more: Any) -> TrainingStep:
    recipe = load("llama3.1-8b-dpo-lora", ["training.gradient_checkpointing=true"])
    return replace(training_step_of(recipe, architecture(SHAPES["8b"])), **more)


def test_a_pair_is_two_sequences() -> None:
    dpo = step()
    sft = replace(dpo, objective=ObjectiveWork(), micro_batch_size=2 * dpo.micro_batch_size)
    assert dpo.tokens == sft.tokens
    assert memory(dpo) == memory(sft)
    timed, plain = step_time(dpo, 1, GPU), step_time(sft, 1, GPU)
    assert timed.seconds is not None and plain.seconds is not None
    assert 1.2 * plain.seconds < timed.seconds < 1.5 * plain.seconds, "another forward pass"


def test_a_second_copy_is_sharded_like_the_model() -> None:
    alone = step(method="full", adapter_parameters=0, sharding="full", shards=8)
    both = replace(alone, objective=replace(alone.objective, reference_copy=True))
    more = memory(both).weights - memory(alone).weights
    assert more == pytest.approx(2 * alone.model.parameters / 8, rel=0.01)
    assert memory(both).unsharded > memory(alone).unsharded


def test_a_reward_model_has_no_logits() -> None:
    dpo = step()
    reward = replace(dpo, objective=ObjectiveWork(2, scores=True))
    head = 2 * dpo.model.embedding_parameters
    assert memory(dpo).weights - memory(reward).weights == pytest.approx(head, rel=0.01)
    assert memory(reward).total < memory(dpo).total
    assert step_time(reward, 1, GPU).flops < step_time(dpo, 1, GPU).flops
