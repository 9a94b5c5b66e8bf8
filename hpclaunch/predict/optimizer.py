"""Which optimizers the predictions count: AdamW with its state in fp32."""

from __future__ import annotations

from hpclaunch.predict.memory import ADAM_STATE_BYTES
from hpclaunch.recipe.schema import Recipe

COUNTED = {"adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"}
"""Values of `training.optim` with AdamW's state in fp32."""


def adamw_assumed(recipe: Recipe) -> str | None:
    """Return a line where the recipe sets an optimizer that no prediction counts, else None."""
    optim = str(recipe.training.get("optim") or "adamw_torch")
    if optim in COUNTED:
        return None
    return (
        f"AdamW is assumed ({ADAM_STATE_BYTES} bytes of state a trained parameter): memory, "
        f"checkpoint and step time of training.optim={optim} are not predicted"
    )
