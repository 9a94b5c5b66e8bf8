"""Whether the kernels that a recipe switches on are in the model: libraries may pass over them."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Performance


class CheckLevers(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Refuses to train without the kernels that were asked for, once the model is prepared."""

    def __init__(self, performance: Performance) -> None:
        self._performance = performance

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Raise UserError where a kernel is not there."""
        check_levers_in(model, self._performance)


def check_levers_in(model: Any, performance: Performance) -> None:
    """Refuse a model without the kernels that `performance` switches on. Raises UserError."""
    modules = list(model.modules())
    if performance.liger and not any(_is_liger(module) for module in modules):
        raise UserError(
            "performance.liger: Liger has no kernels for this model", "leave performance.liger out"
        )
    if performance.fp8 and not any(type(each).__name__ == "Float8Linear" for each in modules):
        raise UserError(
            "performance.fp8: no layer of this model computes in FP8", "leave performance.fp8 out"
        )
    if performance.compile and not any(_is_compiled(module) for module in modules):
        raise UserError(
            "performance.compile: no layer of this model is compiled",
            "leave performance.compile out",
        )


def _is_liger(module: Any) -> bool:
    functions = (type(module).forward, getattr(module.forward, "__func__", module.forward))
    names = (type(module).__module__, *(getattr(each, "__module__", "") for each in functions))
    return any(str(name).startswith("liger_kernel") for name in names)


def _is_compiled(module: Any) -> bool:
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or type(module).__name__ == "OptimizedModule"
