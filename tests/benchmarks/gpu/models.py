"""The models of the levers: random weights, adapters, attention kernels."""

from __future__ import annotations

import inspect
from typing import Any

from tests.benchmarks.gpu.sizes import DEVICE, config_of


def build(name: str, kernel: str) -> tuple[Any, Any]:
    """Return a model with random weights and adapters, and its optimizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    config = AutoConfig.for_model(**config_of(name))
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation=kernel
        )
    return adapted(model)


def empty(name: str) -> Any:
    """Return a model on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

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


def register_varlen() -> None:
    """Let Transformers call PyTorch's kernel for rows of several samples; it needs no mask."""
    from torch.nn.attention.varlen import varlen_attn
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    takes = inspect.signature(varlen_attn).parameters

    def attention(module: Any, q: Any, k: Any, v: Any, mask: Any, **more: Any) -> tuple[Any, None]:
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
        how: dict[str, Any] = {"scale": more["scaling"]} if "scale" in takes else {}
        if "enable_gqa" in takes:
            how["enable_gqa"] = True
        else:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        how |= {"is_causal": True} if "is_causal" in takes else {"window_size": (-1, 0)}
        bounds, longest = more["cu_seq_lens_q"], int(more["max_length_q"])
        return varlen_attn(q, k, v, bounds, bounds, longest, longest, **how).unsqueeze(0), None

    ALL_ATTENTION_FUNCTIONS.register("varlen", attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("varlen", lambda *_, **__: None)
