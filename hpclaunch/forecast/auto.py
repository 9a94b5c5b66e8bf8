"""`--sharding auto` and `--batch auto`: the fastest layout that fits, in place of the recipe's."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.predict.compare import Candidate, Choice, compare
from hpclaunch.recipe.schema import Recipe


def resolve_auto(
    request: PredictionRequest, environment: Mapping[str, str], *, sharding: bool, batch: bool
) -> Recipe:
    """Return the recipe with its sharding, its micro-batch, or both, chosen by predicted time.

    The global batch, activation checkpointing and offload do not change. Raises UserError where
    the GPU is not known, or nothing fits.
    """
    predicted = forecast(request, environment, ask_hub=False)
    if predicted.gpu is None or predicted.hardware is None:
        raise UserError("auto needs to know the GPU", "add --gpu KIND")
    _, fitting = compare(
        predicted.training,
        predicted.candidate,
        predicted.workload,
        predicted.gpu,
        predicted.hardware,
    )
    own = predicted.candidate

    def allowed(choice: Choice) -> bool:
        candidate = choice.candidate
        return (
            (sharding or candidate.sharding == own.sharding)
            and (batch or candidate.micro_batch_size == own.micro_batch_size)
            and candidate.activation_checkpointing == own.activation_checkpointing
            and candidate.offload == own.offload
        )

    best = next(filter(allowed, fitting), None)
    if best is None:
        raise UserError("no layout fits", "see hpclaunch plan --compare, with larger GPUs or more")
    return _with(request.recipe, best.candidate)


def _with(recipe: Recipe, candidate: Candidate) -> Recipe:
    training = {
        **recipe.training,
        "per_device_train_batch_size": candidate.micro_batch_size,
        "gradient_accumulation_steps": candidate.gradient_accumulation_steps,
    }
    return replace(
        recipe, fsdp=replace(recipe.fsdp, sharding=candidate.sharding), training=training
    )
