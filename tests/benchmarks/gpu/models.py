"""The models of the levers: random weights, adapters, attention kernels."""

from __future__ import annotations

from typing import Any

from hpclaunch.train.attention import register_varlen
from tests.benchmarks.gpu.sizes import DEVICE, config_of


def build(name: str, kernel: str, **changes: Any) -> tuple[Any, Any]:
    """Return a model with random weights and adapters, and its optimizer.

    `changes` are keys of the config.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    register_varlen()
    torch.manual_seed(3)
    config = AutoConfig.for_model(**{**config_of(name), **changes})
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=kernel
        )
    return adapted(model)


def empty(name: str) -> Any:
    """Return a model on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    register_varlen()
    with torch.device("meta"):
        config = AutoConfig.for_model(**config_of(name))
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="sdpa"
        )


def fill(model: Any) -> None:
    """Give every tensor that is still on the meta device a value on the GPU."""
    import torch

    for name, parameter in list(model.named_parameters()):
        if parameter.device.type != "meta":
            continue
        value = torch.empty_like(parameter, device=DEVICE)
        value = value.normal_(0, 0.02) if value.dim() > 1 else value.fill_(1.0)
        parent, _, leaf = name.rpartition(".")
        frozen = torch.nn.Parameter(value, requires_grad=False)
        setattr(model.get_submodule(parent), leaf, frozen)
    with torch.device(DEVICE):  # its frequencies are made in the constructor
        model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)


def adapted(model: Any) -> tuple[Any, Any]:
    """Return the model with LoRA of rank 16 on all linear layers, and an optimizer over it."""
    import torch
    from peft import LoraConfig, get_peft_model

    model.config.use_cache = False
    model.enable_input_require_grads()
    settings = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, settings, autocast_adapter_dtype=False)
    wrapped.train()
    trained = [each for each in wrapped.parameters() if each.requires_grad]
    return wrapped, torch.optim.AdamW(trained, lr=1e-5, fused=DEVICE == "cuda")


def use(model: Any, kernel: str, checkpointing: bool) -> None:
    """Switch the attention kernel, and activation checkpointing on or off."""
    inner = model.get_base_model()
    inner.config._attn_implementation = kernel
    inner.model.config._attn_implementation = kernel
    if checkpointing:
        inner.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        inner.gradient_checkpointing_disable()
