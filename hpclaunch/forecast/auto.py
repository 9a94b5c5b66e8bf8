"""`--sharding auto` and `--batch auto`: the fastest layout that fits, in place of the recipe's."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import Forecast, PredictionRequest, forecast
from hpclaunch.frozen import frozen
from hpclaunch.predict.compare import Candidate, Choice, compare, fastest, worth_offloading
from hpclaunch.recipe.global_batch import BATCH
from hpclaunch.recipe.recomputation import FIELD, set_level
from hpclaunch.recipe.schema import Recipe

WORTH_SAYING = 1.1
"""Ratio of step times from which another layout is worth a line: predictions are off by a tenth."""
BATCH_TOO = 1.25
"""Ratio of step times from which `--batch auto` is worth a word beside `--sharding auto`."""


def resolve_auto(
    request: PredictionRequest, environment: Mapping[str, str], *, sharding: bool, batch: bool
) -> Recipe:
    """Return the recipe with its sharding, its micro-batch, or both, chosen by predicted time.

    The search is that of `plan --compare`, over what the recipe leaves open: with
    `performance.activation_checkpointing: auto` its level is chosen, too. The global batch does not
    change; offload does with the sharding.
    Raises UserError where the GPU is not known, or nothing fits.
    """
    predicted = forecast(request, environment, ask_hub=False)
    if predicted.gpu is None or predicted.hardware is None:
        raise UserError("auto needs to know the GPU", "add --gpu TYPE")
    level = request.recipe.performance.activation_checkpointing == "auto"
    best = _best(predicted, _fitting(predicted), sharding=sharding, batch=batch, level=level)
    if best is None:
        raise UserError("no layout fits", "see hpclaunch plan --compare, with larger GPUs or more")
    return _with(request.recipe, best.candidate)


@frozen
class AutoGain:
    """What `--sharding auto` would bring."""

    arguments: tuple[str, ...]
    """Options to add."""
    choice: Choice
    factor: float | None
    """Ratio of the step times; None: the recipe's own layout does not fit."""


def auto_gain(predicted: Forecast) -> AutoGain | None:
    """Return what `--sharding auto` would bring, with `--batch auto` where that brings more.

    None where it brings less than a tenth, or no time can be predicted.
    """
    found = None
    fitting = _fitting(predicted)
    level = predicted.request.chosen_level
    follows = BATCH in predicted.request.recipe.follows_global_batch
    for words in (("--sharding auto",), ("--sharding auto", "--batch auto")):
        free = len(words) > 1 or follows
        best = _best(predicted, fitting, sharding=True, batch=free, level=level)
        if best is None or best.candidate == predicted.candidate:
            continue
        factor = _factor(predicted, best)
        if predicted.estimate.fits is False:
            return AutoGain(words, best, None)
        before = WORTH_SAYING if found is None else BATCH_TOO * (found.factor or 1)
        if factor is not None and factor >= before:
            found = AutoGain(words, best, factor)
    return found


def _factor(predicted: Forecast, best: Choice) -> float | None:
    """Return how many times as fast a layout is as the recipe's own."""
    own, other = predicted.estimate.step, best.estimate.step
    if own is None or other is None or own.seconds is None or not other.seconds:
        return None
    return own.seconds / other.seconds


def _fitting(predicted: Forecast) -> list[Choice]:
    """Return all layouts that fit, the fastest first; none where the GPU is not known."""
    if predicted.gpu is None or predicted.hardware is None:
        return []
    _, fitting = compare(
        predicted.training,
        predicted.candidate,
        predicted.workload,
        predicted.gpu,
        predicted.hardware,
    )
    return fitting


def _best(
    predicted: Forecast,
    fitting: list[Choice],
    *,
    sharding: bool,
    batch: bool,
    level: bool = False,
) -> Choice | None:
    """Return the best of the layouts that fit, None where there is none.

    `sharding`, `batch`, `level` of activation checkpointing: whether it may change.
    """
    own = predicted.candidate

    def allowed(choice: Choice) -> bool:
        candidate = choice.candidate
        return (
            (sharding or (candidate.sharding, candidate.offload) == (own.sharding, own.offload))
            and (batch or candidate.micro_batch_size == own.micro_batch_size)
            and (level or candidate.level == own.level)
        )

    best = fastest(list(filter(allowed, fitting)))
    if best is None or not best.candidate.offload or own.offload:
        return best
    # Another division of the same batch may do as well, and assumes nothing of the host.
    if worth_offloading(best, fitting):
        return best
    plain = fastest([each for each in fitting if allowed(each) and not each.candidate.offload])
    return plain or best


def _with(recipe: Recipe, candidate: Candidate) -> Recipe:
    training = {
        **recipe.training,
        "per_device_train_batch_size": candidate.micro_batch_size,
        "gradient_accumulation_steps": candidate.gradient_accumulation_steps,
    }
    if recipe.performance.activation_checkpointing == "auto":
        recipe = set_level(recipe, candidate.level)
        training = {**training, FIELD: recipe.training[FIELD]}
    return replace(
        recipe,
        fsdp=replace(recipe.fsdp, sharding=candidate.sharding, offload=candidate.offload),
        training=training,
    )
