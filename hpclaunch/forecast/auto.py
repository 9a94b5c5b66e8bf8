"""`--sharding auto` and `--batch auto`: the fastest layout that fits, in place of the recipe's."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import Question, forecast
from hpclaunch.predict.compare import Choice, Layout, compare
from hpclaunch.recipe.schema import Recipe


def settle(
    question: Question, environment: Mapping[str, str], *, sharding: bool, batch: bool
) -> Recipe:
    """Return the recipe with its sharding, its micro-batch, or both, chosen by predicted time.

    Samples of a step, checkpointing and offload stay as they are. Raises UserError where the GPU is
    not known, or nothing fits.
    """
    made = forecast(question, environment, ask_hub=False)
    if made.card is None or made.machine is None:
        raise UserError("auto needs to know the GPU", "add --gpu KIND")
    _, fitting = compare(made.load, made.now, made.work, made.card, made.machine)
    now = made.now

    def allowed(choice: Choice) -> bool:
        lay = choice.layout
        return (
            (sharding or lay.sharding == now.sharding)
            and (batch or lay.samples == now.samples)
            and (lay.checkpointing, lay.offload) == (now.checkpointing, now.offload)
        )

    best = next(filter(allowed, fitting), None)
    if best is None:
        raise UserError("no layout fits", "see hpclaunch plan --compare, with larger cards or more")
    return _with(question.recipe, best.layout)


def _with(recipe: Recipe, lay: Layout) -> Recipe:
    training = {
        **recipe.training,
        "per_device_train_batch_size": lay.samples,
        "gradient_accumulation_steps": lay.accumulation,
    }
    return replace(recipe, fsdp=replace(recipe.fsdp, sharding=lay.sharding), training=training)
