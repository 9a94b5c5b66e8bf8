"""What an objective adds to a step: sequences of a sample, forward passes, a second copy."""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.recipe.groups import completion_tokens, iterations
from hpclaunch.recipe.schema import Recipe


@frozen
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
    generated_tokens: int = 0
    """Tokens of a completion that the ranks write themselves, at most, before they train on it."""
    generated_sequences: int = 0
    """Completions that a rank writes at a time."""
    generations_per_step: float = 0.0
    """How often it does so in an optimizer step."""


PLAIN = ObjectiveWork()
"""Of SFT and pretraining."""


def _grpo_work(recipe: Recipe) -> ObjectiveWork:
    """Return what GRPO adds: the reference model and the old policy, both without gradients.

    TRL asks the old policy where completions are trained on in a later step than their own, and
    where a server has written them.
    """
    training, served = recipe.training, recipe.method.grpo.server.enabled
    compares = bool(training.get("beta"))
    accumulation = int(training["gradient_accumulation_steps"])
    at_once = int(training.get("steps_per_generation") or accumulation)
    every = at_once * iterations(recipe)
    passes = compares + (accumulation % every != 0 or served)
    copy = compares and recipe.method.kind == "full"
    if served:
        return ObjectiveWork(1, passes, copy)
    batch = int(training["per_device_train_batch_size"])
    return ObjectiveWork(
        1,
        passes,
        copy,
        generated_tokens=completion_tokens(recipe),
        generated_sequences=batch * at_once,
        generations_per_step=accumulation / every,
    )


def objective_work(recipe: Recipe) -> ObjectiveWork:
    """Return what a recipe's objective adds."""
    spec = recipe.objective_spec
    if spec.writes_completions:
        return _grpo_work(recipe)
    precomputed = bool(recipe.training.get("precompute_ref_log_probs"))
    compares = spec.reference is not None and not precomputed
    # Without gradients: this model's for the KL, and of the reference model, for both.
    estimates = spec.estimates_kl(recipe.training)
    return ObjectiveWork(
        spec.sequences,
        estimates + (1 + estimates if compares else 0),
        reference_copy=compares and recipe.method.kind == "full",
        scores=spec.scores,
    )


def unknown_of_generation(recipe: Recipe) -> list[str]:
    """Return in words what is not known of the time and memory in which completions are written."""
    if not recipe.objective_spec.writes_completions:
        return []
    rewards = "the time of the reward functions"
    if recipe.method.grpo.server.enabled:
        return [
            "the server's memory, and how long it writes completions and takes new weights: step "
            "times, and so GPU-hours, leave that out",
            rewards,
        ]
    return [
        "how long writing completions takes: step times count a token's weights and kernel "
        "launches, completions of full length, and neither Python's time nor reading keys and "
        "values",
        rewards,
    ]
