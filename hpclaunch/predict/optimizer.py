"""What each optimizer holds and moves for a trained parameter, by the names of `training.optim`.

Parameters that are trained are held in fp32 (QLoRA's adapters in bf16 where a recipe says so), and
an optimizer's state is in the same type unless its name says otherwise: one tensor for each moment.
"""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.recipe.schema import Recipe

FP32_BYTES, BF16_BYTES = 4, 2
"""Bytes of a trained parameter and of its gradient."""
BLOCK_SCALE = FP32_BYTES / 256
"""Bytes of a value in 8 bits for the scale that its block of 256 shares (bitsandbytes)."""
FACTORED, FACTORED_ADAPTER = 0.01, 0.25
"""Bytes of state a parameter where a matrix has one value for each row and each column (Adafactor):
of a model's matrices, and of an adapter's narrow ones of rank 16."""


@frozen
class Optimizer:
    """What an optimizer takes for one trained parameter."""

    state_bytes: float = 8.0
    """Bytes of its state: 8 are AdamW's two moments in fp32."""
    parameter_bytes: int = FP32_BYTES
    """Bytes of the parameter itself, and of its gradient."""
    known: bool = True
    """False: the figures are AdamW's, and nothing is known of this one."""

    @property
    def moved_bytes(self) -> float:
        """Bytes that a step moves: parameter and state read and written, the gradient read."""
        return 2 * (self.parameter_bytes + self.state_bytes) + self.parameter_bytes


ADAMW = Optimizer()
_EIGHT_BITS = 1 + BLOCK_SCALE

_STATE: dict[str, float] = {
    "adamw_torch": 8, "adamw_torch_fused": 8, "adamw_hf": 8, "adamw_apex_fused": 8,
    "stable_adamw": 8,
    "adamw_8bit": 2 * _EIGHT_BITS, "adamw_bnb_8bit": 2 * _EIGHT_BITS,
    "adamw_torch_8bit": 2 * _EIGHT_BITS, "adamw_torch_4bit": 1 + 2 * FP32_BYTES / 128,
    "ademamix": 12, "ademamix_8bit": 3 * _EIGHT_BITS,
    "adamw_anyprecision": 4,
    "lion": 4, "lion_32bit": 4, "lion_8bit": _EIGHT_BITS,
    "rmsprop": 4, "rmsprop_bnb": 4, "rmsprop_32bit": 4, "rmsprop_bnb_32bit": 4,
    "rmsprop_8bit": _EIGHT_BITS, "rmsprop_bnb_8bit": _EIGHT_BITS,
    "adagrad": 4, "sgd": 0,
}  # fmt: skip
"""Bytes of state a parameter. Of a paged one the same: its pages are the GPU's while it steps."""


_STATE_AS_PARAMETER = {
    "adamw_torch", "adamw_torch_fused", "adamw_hf", "stable_adamw", "rmsprop", "adagrad",
}  # fmt: skip
"""Optimizers whose state has the parameter's type; others choose their own."""


def optimizer_of(recipe: Recipe) -> Optimizer:
    """Return what the recipe's optimizer takes."""
    optim = _name(recipe)
    method = recipe.method
    halved = method.kind == "qlora" and method.quantization.adapter_dtype == "bfloat16"
    parameter = BF16_BYTES if halved else FP32_BYTES
    if optim == "adafactor":
        factored = FACTORED if method.kind == "full" else FACTORED_ADAPTER
        return Optimizer(factored, parameter)
    state = _STATE.get(optim.removeprefix("paged_"))
    if state is None:
        return Optimizer(ADAMW.state_bytes, parameter, known=False)
    return Optimizer(state / 2 if halved and optim in _STATE_AS_PARAMETER else state, parameter)


def unknown_optimizer(recipe: Recipe) -> str | None:
    """Return a line where nothing is known of the recipe's optimizer, else None."""
    if optimizer_of(recipe).known:
        return None
    return (
        f"what training.optim={_name(recipe)} holds for a parameter: AdamW's "
        f"{ADAMW.state_bytes:.0f} bytes are counted"
    )


def _name(recipe: Recipe) -> str:
    return str(recipe.training.get("optim") or "adamw_torch")
