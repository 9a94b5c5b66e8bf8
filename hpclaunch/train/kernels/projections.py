"""Autograd functions of fused LoRA layers, in plain PyTorch.

PEFT's layers keep their input, the normed input and each intermediate result for the backward pass,
and run some twelve kernels a matrix. Here one function computes all matrices that share an input;
it keeps the input alone, or what the norm before it was given, and (tokens, rank) products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

WEIGHTS = 4
"""Tensors of a projection in a flat list: weight, bias, lora_A, lora_B."""


class Projection(NamedTuple):
    """What a function must know of a matrix beside its tensors."""

    scaling: float
    """Of its adapter, by PEFT's name: lora_alpha / r. No unit."""
    rank: int
    """Of its adapter; 0 where it has none."""
    quant_state: Any = None
    """Of bitsandbytes, where the weight is in 4 bits."""


class Options(NamedTuple):
    """What the functions are told beside tensors."""

    projections: tuple[Projection, ...]
    eps: float = 0.0
    """Of the norm before them; no unit."""
    keep: bool = True
    """Keep the MLP's gate and up for the backward pass, rather than compute them again."""


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return PyTorch's own RMS norm, one kernel on a GPU, in the type of x.

    It computes in 32 bits inside. Autocast would have it write 32 bits as well, to be cast back.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.rms_norm(x, weight.shape, weight, eps)


def _dense(weight: torch.Tensor, projection: Projection, dtype: torch.dtype) -> torch.Tensor:
    """Return a frozen weight as a matrix."""
    if projection.quant_state is not None:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.detach(), projection.quant_state)
    return weight.to(dtype)


def _stacked(projections: Sequence[Projection], weights: Sequence[Any], dtype: Any) -> torch.Tensor:
    """Return all adapters' A in one matrix: their products with the input are one."""
    downs = [weights[WEIGHTS * i + 2] for i, each in enumerate(projections) if each.rank]
    return torch.cat([down.to(dtype) for down in downs])


def project(
    h: torch.Tensor, projections: Sequence[Projection], weights: Sequence[Any]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return h W^T + b + scaling (h A^T) B^T of each projection, and all h A^T side by side."""
    adapted = any(each.rank for each in projections)
    downs = h @ _stacked(projections, weights, h.dtype).t() if adapted else h.new_empty(len(h), 0)
    made, begin = [], 0
    for i, each in enumerate(projections):
        weight, bias, _, up = weights[WEIGHTS * i : WEIGHTS * (i + 1)]
        y = F.linear(h, _dense(weight, each, h.dtype), None if bias is None else bias.to(h.dtype))
        if each.rank:
            part = downs[:, begin : begin + each.rank]
            y.addmm_(part, up.to(h.dtype).t(), alpha=each.scaling)
        begin += each.rank
        made.append(y)
    return made, downs


def project_backward(
    h: torch.Tensor,
    downs: torch.Tensor,
    outputs: Sequence[torch.Tensor],
    projections: Sequence[Projection],
    weights: Sequence[Any],
    *,
    needs_input: bool,
) -> tuple[Any, list[torch.Tensor | None]]:
    """Return the gradients of h (if `needs_input`) and of every adapter; weights are frozen.

    `outputs` are the gradients of what `project` returned.
    """
    gradients: list[torch.Tensor | None] = [None] * len(weights)
    of_downs, of_input, begin = torch.empty_like(downs), None, 0
    for i, (each, dy) in enumerate(zip(projections, outputs, strict=True)):
        weight, _, _, up = weights[WEIGHTS * i : WEIGHTS * (i + 1)]
        if each.rank:
            part = slice(begin, begin + each.rank)
            of_downs[:, part] = (dy @ up.to(h.dtype)).mul_(each.scaling)
            gradients[WEIGHTS * i + 3] = (dy.t() @ downs[:, part]).to(up.dtype).mul_(each.scaling)
        begin += each.rank
        if needs_input:
            dense = _dense(weight, each, h.dtype)
            of_input = dy @ dense if of_input is None else of_input.addmm_(dy, dense)
    if begin:
        if of_input is not None:
            of_input.addmm_(of_downs, _stacked(projections, weights, h.dtype))
        parts = iter((of_downs.t() @ h).split([each.rank for each in projections if each.rank]))
        for i, each in enumerate(projections):
            if each.rank:
                gradients[WEIGHTS * i + 2] = next(parts).to(weights[WEIGHTS * i + 2].dtype)
    return of_input, gradients


def _shaped(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return rows in the shape of x, as no view: autograd lets nobody change a function's views.

    Llama 4 adds its routed experts to what the shared one returned, in place.
    """
    return torch.ops.aten._unsafe_view(y, [*x.shape[:-1], y.shape[-1]])


def _normed_again(
    x: torch.Tensor, norm: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the flat input from what was kept, and what turns its gradient into that of x."""
    if norm is None:
        return x.reshape(-1, x.shape[-1]), lambda gradient: gradient.view(x.shape)
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():  # so that the backward pass is PyTorch's fused kernel, too
        h = rms_norm(leaf, norm.detach(), eps)
    flat = h.detach().reshape(-1, x.shape[-1])
    return flat, lambda gradient: torch.autograd.grad(h, leaf, gradient.view(x.shape))[0]


class LoraProjections(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """One to three projections of one input, such as q, k and v."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        h: torch.Tensor | None,
        norm: torch.Tensor | None,
        options: Options,
        *weights: Any,
    ) -> tuple[torch.Tensor, ...]:
        """Return the projections of `h`, the normed `x`; of x itself where there is no norm."""
        flat = (x if h is None else h).reshape(-1, x.shape[-1])
        made, downs = project(flat, options.projections, weights)
        ctx.options = options
        ctx.save_for_backward(x, norm, downs, *weights)
        return tuple(_shaped(y, x) for y in made)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch is untyped here
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[Any, ...]:
        """Return the gradients of x and of the adapters."""
        x, norm, downs, *weights = ctx.saved_tensors
        flat, of_x = _normed_again(x, norm, ctx.options.eps)
        gradient, of_weights = project_backward(
            flat,
            downs,
            [dy.reshape(-1, dy.shape[-1]) for dy in outputs],
            ctx.options.projections,
            weights,
            needs_input=ctx.needs_input_grad[0],
        )
        return None if gradient is None else of_x(gradient), None, None, None, *of_weights


class LoraSwiGLU(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """A whole MLP: down(silu(gate(h)) * up(h)). Keeps gate and up, or neither."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        h: torch.Tensor | None,
        norm: torch.Tensor | None,
        options: Options,
        *weights: Any,
    ) -> torch.Tensor:
        """Return the MLP's output for `h`, the normed `x`; for x itself where there is no norm."""
        inner, last = options.projections[:2], options.projections[2:]
        flat = (x if h is None else h).reshape(-1, x.shape[-1])
        (gate, up), downs = project(flat, inner, weights[: 2 * WEIGHTS])
        (y,), last_downs = project(F.silu(gate).mul_(up), last, weights[2 * WEIGHTS :])
        kept = (gate, up) if options.keep else (None, None)
        ctx.options = options
        ctx.save_for_backward(x, norm, downs, last_downs, *kept, *weights)
        return _shaped(y, x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch is untyped here
    def backward(ctx: Any, output: torch.Tensor) -> tuple[Any, ...]:
        """Return the gradients of x and of the adapters."""
        x, norm, downs, last_downs, gate, up, *weights = ctx.saved_tensors
        options = ctx.options
        inner, last = options.projections[:2], options.projections[2:]
        flat, of_x = _normed_again(x, norm, options.eps)
        if gate is None:
            (gate, up), _ = project(flat, inner, weights[: 2 * WEIGHTS])
        dy, active = output.reshape(-1, output.shape[-1]), F.silu(gate)
        of_product, of_last = project_backward(
            active * up, last_downs, [dy], last, weights[2 * WEIGHTS :], needs_input=True
        )
        of_up = active.mul_(of_product)
        of_gate = torch.ops.aten.silu_backward(of_product.mul_(up), gate)
        del gate, up, active
        gradient, of_inner = project_backward(
            flat,
            downs,
            [of_gate, of_up],
            inner,
            weights[: 2 * WEIGHTS],
            needs_input=ctx.needs_input_grad[0],
        )
        of_input = None if gradient is None else of_x(gradient)
        return of_input, None, None, None, *of_inner, *of_last
