"""Puts the kernels of the recipe's `performance` section into a trainer's model."""

from __future__ import annotations

from typing import Any

from hpclaunch.recipe.schema import Recipe

MANY = 10**6
"""More MLPs than any model has."""


def install(recipe: Recipe, trainer: Any, fsdp_version: int) -> list[str]:
    """Switch on what the recipe asks for and the model can do; return it in words, for the log.

    Call it when the trainer has its adapters, and before the model is sharded.
    """
    made = []
    if recipe.method.kind != "full":
        if trainer.args.bf16 or trainer.args.fp16:
            cast_weights_only(trainer.model)
        if can_fuse(recipe, fsdp_version):
            from hpclaunch.train.kernels.fused_lora import fuse

            again = recipe.performance.activation_checkpointing == "mlp"
            parts = fuse(trainer.model, recomputed_mlps=MANY if again else 0)
            made.append(
                f"LoRA layers ({parts.projections} attentions, {parts.mlps} MLPs, "
                f"{parts.norms} norms)"
            )
            if again:
                made.append(f"gate and up of {parts.mlps} MLPs computed again")
    if recipe.performance.fused_loss and head_is_frozen(trainer.model):
        from hpclaunch.train.kernels import fused_loss

        fused_loss.install()
        made.append("loss")
    return made


def can_fuse(recipe: Recipe, fsdp_version: int) -> bool:
    """Return whether LoRA layers are fused: not where others replace or trace the same layers.

    FSDP 1 hands out views of one flat parameter, which were not tried.
    """
    others = ("torch_compile", "use_liger_kernel")
    taken = any(recipe.training.get(key) for key in others)
    return recipe.performance.fused_lora and not taken and fsdp_version != 1


def cast_weights_only(model: Any) -> None:
    """Have autocast cast the adapters' small weights, and PEFT no longer their large inputs.

    Otherwise PEFT casts a layer's input to 32 bits, the adapters' type, and autocast casts it back:
    with the same values, but both are kept for the backward pass. Under FSDP nothing differs.
    """
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def head_is_frozen(model: Any) -> bool:
    """Return whether no parameter of the output head is trained."""
    head = model.get_output_embeddings()
    return head is not None and not any(each.requires_grad for each in head.parameters())
