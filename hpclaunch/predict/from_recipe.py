"""A recipe in the terms of the predictions: one GPU's part of a step, and how many steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.predict.architecture import AdaptedMatrices, Architecture, adapted
from hpclaunch.predict.estimate import Workload
from hpclaunch.predict.families import architecture
from hpclaunch.predict.fused import layers_are_fused, loss_is_fused
from hpclaunch.predict.objective import objective_work
from hpclaunch.predict.optimizer import optimizer_of
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.attention import attention_is_eager
from hpclaunch.recipe.groups import (
    completion_tokens,
    generations,
    iterations,
    prompts_at_once,
)
from hpclaunch.recipe.loading import adds_tokens, whole_because
from hpclaunch.recipe.parallel import data_parallel_ranks
from hpclaunch.recipe.schema import Lora, Recipe


def workload_of(recipe: Recipe, ranks: int, samples: int | None) -> Workload:
    """Return how many samples and steps the recipe has.

    `samples`: of the data, where they are known.
    """
    limit = recipe.data.limit
    if samples is None or (limit is not None and limit < samples):
        samples = limit if limit is not None else samples
    most = recipe.training.get("max_steps")
    micro = int(recipe.training["per_device_train_batch_size"])
    if recipe.objective_spec.writes_completions and samples is not None:  # of prompts
        at_once = max(1, prompts_at_once(recipe, ranks))
        samples = samples // at_once * at_once * generations(recipe) * iterations(recipe)
    return Workload(
        samples=samples,
        epochs=float(recipe.training.get("num_train_epochs") or 1),
        max_steps=most if isinstance(most, int) and most > 0 else None,
        samples_per_step=micro
        * int(recipe.training["gradient_accumulation_steps"])
        * data_parallel_ranks(recipe, ranks),
        server_nodes=int(
            recipe.objective_spec.writes_completions and recipe.method.grpo.server.enabled
        ),
    )


def training_step_of(recipe: Recipe, model: Architecture) -> TrainingStep:
    """Return the recipe's step on one GPU, without sharding: `with_candidate` adds it."""
    return TrainingStep(
        model=model,
        method=recipe.method.kind,
        adapter_parameters=0
        if recipe.method.kind == "full"
        else adapter_parameters_of(recipe.method.lora, model),
        sharding="none",
        shards=1,
        micro_batch_size=int(recipe.training["per_device_train_batch_size"]),
        seq_len=seq_len_of(recipe),
        activation_checkpointing=bool(recipe.training["gradient_checkpointing"]),
        double_quant=recipe.method.quantization.double,
        gradient_accumulation_steps=int(recipe.training["gradient_accumulation_steps"]),
        target_matrices=target_matrices_of(recipe.method.lora, model),
        optimizer=optimizer_of(recipe),
        sharded_loading=whole_because(recipe, "full") is None and not adds_tokens(recipe),
        fused_lora=layers_are_fused(recipe, model),
        fused_loss=loss_is_fused(recipe),
        every_n_layers=recipe.performance.every_n_layers,
        objective=objective_work(recipe),
        context_parallel=recipe.fsdp.context_parallel,
        eager_attention=attention_is_eager(recipe, model.family),
        recomputed_mlps=recipe.performance.activation_checkpointing == "mlp",
    )


def seq_len_of(recipe: Recipe) -> int:
    """Return the tokens of a sample at most; 4096 is assumed where the recipe cuts none."""
    if recipe.objective_spec.writes_completions:
        return recipe.method.grpo.max_prompt_length + completion_tokens(recipe)
    return int(recipe.training.get("max_length") or 4096)


def target_matrices_of(lora: Lora, model: Architecture) -> AdaptedMatrices | None:
    """Return a layer's matrices with adapters; None: all, or those of a pattern."""
    targets = lora.target_modules
    if isinstance(targets, str):
        return None
    return adapted(each for each in model.linears if each.name in targets and each.copies == 1)


def check_targets(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Refuse names of matrices for adapters that a known family does not have. Raises UserError.

    PEFT refuses them only where all are unknown, and leaves the others without a word.
    """
    targets = recipe.method.lora.target_modules
    if recipe.method.kind == "full" or isinstance(targets, str):
        return
    try:
        model = architecture(config, recipe.model.name)
    except UserError:
        return
    if model.stacked_parameters or model.tower_parameters:
        return  # whose experts PEFT knows by other names, too
    names = {each.name for each in model.linears} | {"embed_tokens", "lm_head"}
    unknown = [each for each in targets if each.rpartition(".")[2] not in names]
    if unknown:
        raise UserError(
            f"method.lora.target_modules: {recipe.model.name} has no {unknown[0]!r}",
            nearest(unknown[0], names),
        )


def adapter_parameters_of(lora: Lora, model: Architecture) -> int:
    """Return the parameters of the adapter; matrices named by a pattern count as all."""
    if isinstance(lora.target_modules, str):
        whole = model.adapter_parameters(lora.r)
    else:
        ends = (
            each.copies * max(1, each.adapter_ranks) * (each.in_features + each.out_features)
            for each in model.linears
            if each.name in lora.target_modules
        )
        whole = model.layers * lora.r * sum(ends)
    saved = {"embed_tokens", "lm_head"} & set(lora.modules_to_save or [])
    return whole + len(saved) * model.embedding_parameters
