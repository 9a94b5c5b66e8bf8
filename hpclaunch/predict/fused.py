"""What fused LoRA layers and the fused loss change of a step's memory and work.

Counted at Llama 3 8B's shapes by PyTorch's FLOP counter and dispatch on tensors without values, and
held against a plain training loop on one H200 (docs/evidence/gpu.md): tests/predict/test_fused.py.
"""

from __future__ import annotations

from hpclaunch.predict.architecture import Architecture
from hpclaunch.recipe.schema import Recipe

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "granite"})
"""`model_type`s of which hpclaunch fuses the MLP and the norms with the adapters."""

SAVED_FFN, SAVED_HIDDEN = 2, 4.05
"""Tensors that a layer keeps, as wide as the MLP (gate and up) and as the model, beside keys and
values."""
BACKWARD_FFN, BACKWARD_HIDDEN = 5, 5.2
"""Tensors as wide as the MLP and as the model that the backward pass of a checkpointed layer holds
beside keys and values: fitted to simulated steps of three shapes."""
RECOMPUTED_FFN = 2
"""Tensors as wide as the MLP that the backward pass holds more where it computes them again."""
MOVED = 0.38
"""Bytes moved between a layer's products, over those of PEFT's layers: 3.9 GiB of 10.3."""
LAUNCHED = 0.73
"""Kernels of a layer, over those of PEFT's layers: 124 of 169."""
RECOMPUTED_MOVED = 0.2
"""Share of the forward pass's moved bytes that computing gate and up again takes; an estimate."""
TAKEN_BY_OTHERS = ("torch_compile", "use_liger_kernel")
"""Fields of `training` with which layers are not fused."""


def layers_are_fused(recipe: Recipe, model: Architecture) -> bool:
    """Return whether the layers of a recipe's model run fused throughout."""
    return adapters_are_fused(recipe) and model.family in FAMILIES


def adapters_are_fused(recipe: Recipe) -> bool:
    """Return whether a recipe's adapters run fused; the rest of a layer where it is known."""
    lora = recipe.method.lora
    plain = not (lora.lora_dropout or lora.use_dora or lora.lora_bias) and lora.bias == "none"
    return (
        recipe.performance.fused_lora
        and recipe.method.kind != "full"
        and recipe.fsdp.version == 2
        and plain
        and not any(recipe.training.get(key) for key in TAKEN_BY_OTHERS)
    )


def loss_is_fused(recipe: Recipe) -> bool:
    """Return whether the loss's gradient is made in the forward pass: the head is frozen."""
    trained = "lm_head" in (recipe.method.lora.modules_to_save or [])
    return recipe.performance.fused_loss and recipe.method.kind != "full" and not trained
