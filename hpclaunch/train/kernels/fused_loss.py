"""TRL's fused loss without its second product over the vocabulary, for a frozen output head.

A token's log-probability depends on that token's hidden state alone. Its gradient is a row that can
be computed while the logits are there: weight[target] - sum over v of p_v weight[v]. The backward
pass scales the rows by whatever gradient comes in, so it needs neither head nor logits again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from trl.kernels import chunked_logprob as trl_kernels

TOKENS = 1024
"""Tokens whose logits exist at once: 263 MB in bf16 over a vocabulary of 128,256."""
_STATISTICS = 7
"""Of a token, which TRL's kernels update as they go over the vocabulary."""
_MAXIMUM, _SUM, _WEIGHTED, _SQUARES, _TOTAL, _BEFORE, _TARGET = range(_STATISTICS)


def install() -> None:
    """Have TRL's fused output head take `HeadLogProbs` where the head is frozen."""
    from trl.trainer import utils

    utils._ChunkedLogProbFunction = _Dispatch


class _Dispatch:
    """Stands where TRL has its autograd function."""

    @staticmethod
    def apply(
        hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *arguments: Any
    ) -> Any:
        """Call this module's function for a frozen head, TRL's own for a trained one."""
        frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
        function = HeadLogProbs if frozen else trl_kernels.ChunkedLogProbFunction
        return function.apply(hidden, weight, bias, *arguments)


class HeadLogProbs(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """Takes and returns what TRL's ChunkedLogProbFunction does; entropy has no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> tuple[torch.Tensor | None, ...]:
        """Return log-probabilities, entropy and the other statistics that `outputs` names."""
        device, count, vocab = hidden.device, hidden.shape[0], weight.shape[0]
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else hidden.dtype
        scales = {"logit_scale": logit_scale, "softcap": softcap or 1.0, "inv_t": 1 / temperature}
        transform = {**scales, "HAS_SOFTCAP": softcap is not None}
        statistics = torch.zeros((_STATISTICS, count), device=device)
        statistics[_MAXIMUM] = statistics[_BEFORE] = -float("inf")
        buffer = torch.empty((min(count, TOKENS), vocab), device=device, dtype=dtype)
        rows = torch.empty(hidden.shape, device=device, dtype=dtype) if _needs(ctx) else None
        dense = weight.to(dtype)
        with torch.autocast(device.type, enabled=False):
            for begin in range(0, count, TOKENS):
                part = slice(begin, min(begin + TOKENS, count))
                logits = buffer[: part.stop - begin]
                torch.mm(hidden[part].to(dtype), dense.t(), out=logits)
                if bias is not None:
                    logits.add_(bias.to(dtype))
                own = [each[part] for each in statistics]
                _fold(logits, targets[part], own, outputs, transform)
                if rows is not None:
                    _turn_into_gradient(logits, targets[part], own, transform)
                    rows[part] = _product(logits, dense)
        ctx.save_for_backward(rows)
        ctx.dtype = hidden.dtype
        others = _others(statistics, vocab, outputs)
        ctx.mark_non_differentiable(*(each for each in others if each is not None))
        log_z = statistics[_MAXIMUM] + statistics[_SUM].log()
        return statistics[_TARGET] - log_z, *others

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch is untyped here
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        """Return the gradient of the hidden states."""
        (rows,) = ctx.saved_tensors
        return (rows * gradient.unsqueeze(-1)).to(ctx.dtype), *[None] * 8


def _needs(ctx: Any) -> bool:
    return bool(ctx.needs_input_grad[0])


def _fold(
    logits: torch.Tensor,
    targets: torch.Tensor,
    statistics: list[torch.Tensor],
    outputs: tuple[str, ...],
    transform: dict[str, Any],
) -> None:
    """Update the tokens' statistics in place, by TRL's kernel."""
    flags = {f"HAS_{name.upper()}": name in outputs for name in trl_kernels.OPTIONAL_OUTPUTS}
    kernel = trl_kernels._forward_tile
    if trl_kernels._use_triton(logits.device):
        kernel = trl_kernels._forward_kernel[(len(logits),)]
    kernel(
        logits,
        logits.stride(0),
        targets,
        *statistics,
        0,
        logits.shape[1],
        BLOCK_SIZE=trl_kernels._BLOCK_SIZE,
        **flags,
        **transform,
    )


def _turn_into_gradient(
    logits: torch.Tensor,
    targets: torch.Tensor,
    statistics: list[torch.Tensor],
    transform: dict[str, Any],
) -> None:
    """Turn logits into the gradient of the log-probability, in place, by TRL's kernel."""
    log_z = statistics[_MAXIMUM] + statistics[_SUM].log()
    size = trl_kernels._BLOCK_SIZE
    kernel = trl_kernels._backward_tile
    if trl_kernels._use_triton(logits.device):
        kernel = trl_kernels._backward_kernel[(len(logits), -(-logits.shape[1] // size))]
    kernel(
        logits,
        logits.stride(0),
        targets,
        log_z,
        log_z,
        torch.ones_like(log_z),
        log_z,
        0,
        logits.shape[1],
        HAS_LOGPROB_GRAD=True,
        HAS_ENTROPY_GRAD=False,
        BLOCK_SIZE=size,
        **transform,
    )


def _product(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a product whose sums are in 32 bits."""
    if gradient.device.type == "cuda" and gradient.dtype != torch.float32:
        return torch.mm(gradient, weight, out_dtype=torch.float32)
    return torch.mm(gradient, weight)


def _others(
    statistics: torch.Tensor, vocab: int, outputs: tuple[str, ...]
) -> list[torch.Tensor | None]:
    """Return TRL's optional outputs, None for those that were not asked for."""
    top, total, weighted, squares, summed, before, target = statistics
    values: dict[str, Callable[[], torch.Tensor]] = {
        "entropy": lambda: top + total.log() - weighted / total,
        "log_sum_sq_probs": lambda: squares.log() - 2 * total.log(),
        "mean_logits": lambda: summed / vocab,
        "is_top1": lambda: (target >= top) & (target > before),
    }
    return [value() if name in outputs else None for name, value in values.items()]
