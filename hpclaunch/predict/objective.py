"""What an objective adds to a step: sequences of a sample, forward passes, a second copy."""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.recipe.schema import Recipe


@dataclass(frozen=True)
class ObjectiveWork:
    """What a micro-batch takes beside one forward and one backward pass over its samples."""

    sequences: int = 1
    """Of a sample: two answers, each behind the prompt, are two."""
    forward_passes: int = 0
    """Over the whole micro-batch, without gradients: of the reference model, and for the KL. They
    come before the backward pass and hold less than it does."""
    reference_copy: bool = False
    """The reference model is a second copy of the weights, in bf16 and sharded alike."""
    scores: bool = False
    """The model has a head of one number in place of the vocabulary's."""


PLAIN = ObjectiveWork()
"""Of SFT and pretraining."""


def objective_work(recipe: Recipe) -> ObjectiveWork:
    """Return what a recipe's objective adds."""
    precomputed = bool(recipe.training.get("precompute_ref_log_probs"))
    copy = recipe.method.kind == "full" and not precomputed
    if recipe.objective == "dpo":
        return ObjectiveWork(2, 0 if precomputed else 1, copy)
    if recipe.objective == "kto":
        # Without gradients: this model's for the KL, and both of the reference model.
        estimates = recipe.training.get("loss_type") != "apo_zero_unpaired"
        return ObjectiveWork(1, estimates + (0 if precomputed else 1 + estimates), copy)
    if recipe.objective == "reward":
        return ObjectiveWork(2, scores=True)
    return PLAIN
