"""Layers that take the memory of others, for simulations on tensors without values."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed._tools.mem_tracker import MemTracker

BLOCK = 64
"""Weights that share a scale."""
NESTED_BLOCK = 256
"""Scales that share a scale, with double quantization."""


class Linear4bit(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Takes the memory of bitsandbytes' 4-bit layer, which quantizes real values when it is moved.

    Half a byte a weight, stored as bfloat16 so that FSDP shards it; scales on every rank. Of its
    name, so that fused layers take it.
    """

    def __init__(self, linear: torch.nn.Linear, *, double: bool) -> None:
        """Take the place of `linear`, on its device."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.quant_state = linear.out_features, linear.in_features
        number, device = linear.weight.numel(), linear.weight.device
        data = torch.empty((number // 4, 1), dtype=torch.bfloat16, device=device)
        self.weight = torch.nn.Parameter(data, requires_grad=False)
        scales = number // BLOCK
        kind = torch.uint8 if double else torch.float32
        self.register_buffer("absmax", torch.empty(scales, dtype=kind, device=device))
        if double:
            nested = torch.empty(scales // NESTED_BLOCK, dtype=torch.float32, device=device)
            self.register_buffer("nested_absmax", nested)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply by the weights, written out in full for as long as that takes."""
        made: torch.Tensor = _Multiply.apply(
            inputs, self.weight, self.out_features, self.in_features
        )
        return made if self.bias is None else made + self.bias


class _Multiply(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped
    """Keeps the 4-bit weights for the backward pass, and writes them out again there."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, rows: int, columns: int
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = rows, columns
        return inputs.to(torch.bfloat16) @ _whole(weight, rows, columns).t()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return gradients[0] @ _whole(weight, *ctx.shape), None, None, None


def _whole(weight: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return torch.empty((rows, columns), dtype=torch.bfloat16, device=weight.device)


class FusedHead(torch.nn.Linear):  # type: ignore[misc]  # torch is untyped
    """An output head with TRL's fused loss: gives the log-probability of each token, no logits.

    In training TRL calls the loss beside the head, which the memory tracker cannot follow.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Score the tokens of `inputs` (samples, tokens, width), but for the last ones."""
        from trl.kernels import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as columns

        flat = inputs[..., :-1, :].reshape(-1, inputs.size(-1))
        labels = torch.zeros(flat.size(0), dtype=torch.long, device=flat.device)
        wanted = ("log_probs", "entropy", "is_top1")
        scored = ChunkedLogProbFunction.apply(
            flat, self.weight, self.bias, labels, 1.0, columns, None, 1.0, wanted
        )
        made: torch.Tensor = scored[0]
        return torch.nn.functional.pad(made.view(*inputs.shape[:-2], -1, 1), (0, 0, 0, 1))


class StateHolder(torch.optim.Optimizer):  # type: ignore[misc]  # torch is untyped
    """Holds an optimizer's state, which a fused one needs for a step and no more than that."""

    def __init__(self, model: torch.nn.Module, state_bytes: float | None) -> None:
        """Take a model, and bytes of state for each value that is trained.

        None: AdamW's two moments in the type of the parameters.
        """
        super().__init__([each for each in model.parameters() if each.requires_grad], {})
        self._state_bytes = state_bytes

    def step(self, closure: Any = None) -> None:
        """Make the state of every parameter, of the size of this rank's shard."""
        for group in self.param_groups:
            for each in group["params"]:
                if not self.state[each]:
                    shard = each.to_local() if hasattr(each, "to_local") else each
                    size = self._state_bytes
                    values = 2 * shard.element_size() if size is None else size
                    held = math.ceil(values * shard.numel())
                    self.state[each]["held"] = shard.new_zeros(held, dtype=torch.uint8)


class PlainTracker(MemTracker):  # type: ignore[misc]  # torch is untyped
    """The tracker of a model that is not sharded; PyTorch's own fails on frozen weights."""

    def _track_module_params_and_buffers(
        self, module: torch.nn.Module, install_grad_hooks: bool = True
    ) -> tuple[int, int]:
        made: tuple[int, int] = super()._track_module_params_and_buffers(
            module, install_grad_hooks=False
        )
        return made


class NormKernel(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """PyTorch's RMS norm as a GPU's kernel: keeps its input and a number a token."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float) -> Any:
        """Return a tensor of the input's shape."""
        ctx.save_for_backward(x, x.new_empty((*x.shape[:-1], 1), dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Any, None, None]:
        """Return a tensor of the input's shape."""
        return torch.empty_like(gradient), None, None


@contextlib.contextmanager
def kernels_of_a_gpu() -> Iterator[None]:
    """Let TRL's fused loss and PyTorch's norm allocate what they do on a GPU, by one kernel each.

    Without a GPU they are computed by tensor operations with large temporaries. The fused layers
    write a 4-bit weight out as `Linear4bit` does.
    """
    from trl.kernels import chunked_logprob as head

    from hpclaunch.train.kernels import projections

    kept = head._forward_tile, head._backward_tile, head._addmm_fp32
    norm, dense = projections.rms_norm, projections._dense

    def written_out(weight: torch.Tensor, projection: Any, dtype: torch.dtype) -> torch.Tensor:
        shape = projection.quant_state
        return dense(weight, projection, dtype) if shape is None else _whole(weight, *shape)

    projections.rms_norm, projections._dense = NormKernel.apply, written_out
    head._forward_tile = head._backward_tile = lambda *_, **__: None
    head._addmm_fp32 = lambda *_: None
    try:
        yield
    finally:
        head._forward_tile, head._backward_tile, head._addmm_fp32 = kept
        projections.rms_norm, projections._dense = norm, dense
