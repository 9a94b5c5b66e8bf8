"""Attention that takes the memory of a GPU's fused kernels, for simulations without values.

PyTorch's kernel for CPUs repeats grouped keys and values for every head, where a GPU's does so only
if there is a mask. And there is a mask only where samples are padded to one length: Transformers
makes one for every tensor without values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def reads_mask(model: Any) -> bool:
    """Whether a model has a mask in any case: an indexer reads it (DeepSeek V3.2, GLM 5)."""
    return any(type(module).__name__.endswith("Indexer") for module in model.modules())


@contextlib.contextmanager
def kernel_of_a_gpu(*, mask: bool) -> Iterator[None]:
    """Let attention allocate what it does on a GPU; without `mask`, let no mask be made."""
    from torch.nn import functional
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as masks

    attention, maker = functional.scaled_dot_product_attention, masks["sdpa"]
    functional.scaled_dot_product_attention = _scaled_dot_product_attention
    if not mask:
        masks["sdpa"] = lambda *_, **__: None
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = attention
        masks["sdpa"] = maker


def _scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *_: Any,
    **__: Any,
) -> torch.Tensor:
    """Stand in for PyTorch's function of this name: (batch, heads, tokens, width) in and out."""
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = (each.to(dtype) for each in (query, key, value))
    output: torch.Tensor = FusedAttention.apply(query, key, value, attn_mask)
    return output


class FusedAttention(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """Keeps inputs, output, the mask and a number a token and head for the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Return a tensor of the queries' shape."""
        batch, heads, tokens, _ = query.shape
        output = query.new_empty((batch, tokens, heads, value.shape[-1])).transpose(1, 2)
        sums = query.new_empty((batch, heads, tokens), dtype=torch.float32)
        if mask is not None:  # a boolean one is turned into numbers to add, once a layer
            mask = torch.empty_like(mask, dtype=query.dtype)
        ctx.save_for_backward(query, key, value, output, sums, mask)
        return output

    @staticmethod
    def backward(ctx: Any, _: Any) -> tuple[Any, ...]:
        """Return tensors of the inputs' shapes."""
        query, key, value, *_rest = ctx.saved_tensors
        # Held until it returns: the query's gradient is summed in 32 bits, and those of grouped
        # keys and values are written for every head first (FlashAttention 2, as PyTorch has it).
        held = [torch.empty_like(query, dtype=torch.float32)]
        if key.shape[1] != query.shape[1]:
            for each in (key, value):
                held.append(each.new_empty((len(each), query.shape[1], *each.shape[2:])))
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del held
        return *gradients, None
