"""GRPO's groups: how many completions are written at a time, and of how many prompts."""

from __future__ import annotations

from math import gcd

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.best import validates
from hpclaunch.recipe.schema import Recipe

GENERATIONS, COMPLETION_TOKENS, EVAL_BATCH = 8, 512, 8
"""GRPOConfig's defaults: completions of a prompt, tokens of one, per-device batch to evaluate."""


def generations(recipe: Recipe) -> int:
    """Return the completions of each prompt."""
    return int(recipe.training.get("num_generations") or GENERATIONS)


def completion_tokens(recipe: Recipe) -> int:
    """Return the tokens of a completion at most."""
    return int(recipe.training.get("max_completion_length") or COMPLETION_TOKENS)


def micro_batches_at_once(recipe: Recipe, ranks: int) -> int:
    """Return the micro-batches of a rank whose completions are written at a time."""
    steps, whole = (
        recipe.training.get(key) for key in ("steps_per_generation", "generation_batch_size")
    )
    if steps:
        return int(steps)
    batch = int(recipe.training["per_device_train_batch_size"]) * ranks
    return max(1, int(whole) // batch) if whole else _accumulation(recipe)


def _accumulation(recipe: Recipe) -> int:
    return int(recipe.training["gradient_accumulation_steps"])


def iterations(recipe: Recipe) -> int:
    """Return how often a completion is trained on."""
    return int(recipe.training.get("num_iterations") or 1)


def prompts_at_once(recipe: Recipe, ranks: int) -> int:
    """Return the prompts that are answered at a time, over all ranks; 0: not even one."""
    batch = int(recipe.training["per_device_train_batch_size"])
    return batch * ranks * micro_batches_at_once(recipe, ranks) // generations(recipe)


def check_groups(recipe: Recipe, ranks: int) -> None:
    """Refuse batches that hold no whole groups of completions. Raises UserError."""
    if not recipe.objective_spec.writes_completions:
        return
    training, group = recipe.training, generations(recipe)
    batch = int(training["per_device_train_batch_size"])
    steps, whole = (training.get(key) for key in ("steps_per_generation", "generation_batch_size"))
    if steps and whole:
        raise UserError(
            "training.steps_per_generation and training.generation_batch_size say the same",
            "leave one out",
        )
    if whole and int(whole) % (batch * ranks):
        raise UserError(
            f"training.generation_batch_size: {whole} cannot be divided over {ranks} ranks with "
            f"micro-batches of {batch}",
            f"set a multiple of {batch * ranks}",
        )
    written = batch * ranks * micro_batches_at_once(recipe, ranks)
    if written % group:
        unit = group // gcd(group, batch * ranks)
        key = "steps_per_generation" if steps else "gradient_accumulation_steps"
        raise UserError(
            f"{written} completions at a time (batch {batch} x {ranks} ranks x "
            f"{micro_batches_at_once(recipe, ranks)}) are no whole groups of {group}",
            f"set training.{key}={unit} or a multiple, or training.num_generations to a divisor "
            f"of {written}",
        )
    if validates(recipe.data) and training.get("eval_strategy", "epoch") != "no":
        size = int(training.get("per_device_eval_batch_size") or EVAL_BATCH)
        of_eval = int(training.get("num_generations_eval") or group)
        if size * ranks % of_eval:
            unit = of_eval // gcd(of_eval, ranks)
            raise UserError(
                f"training.per_device_eval_batch_size: {size} x {ranks} ranks are no whole groups "
                f"of {of_eval} completions",
                f"set training.per_device_eval_batch_size={unit} or a multiple",
            )


def of_one_process(recipe: Recipe) -> Recipe:
    """Return the recipe for a process that reads the data alone: with groups that one rank has."""
    if not recipe.objective_spec.writes_completions:
        return recipe
    taken = {"steps_per_generation", "generation_batch_size", "num_generations_eval"}
    kept = {key: value for key, value in recipe.training.items() if key not in taken}
    sizes = ("num_generations", "per_device_train_batch_size", "per_device_eval_batch_size")
    return replace(recipe, training={**kept, **dict.fromkeys(sizes, 2)})
