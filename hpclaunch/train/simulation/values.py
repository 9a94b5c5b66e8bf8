"""What a step does by the values of its tokens, with the usual values: for tensors without any.

Experts that are computed in a loop over those which have tokens (DBRX, LongCat, JetMoE) get as many
tokens each. BLT's patches, which end where the next byte is hard to foresee, are of the config's
`patch_size`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

_EXPERTS = ("total_experts", "num_experts")
"""Attributes that have the number of a module's experts; LongCat's total has idle ones, too."""


_running: list[EqualShares] = []
"""Those of the modules that run, the innermost last."""


class EqualShares(TorchFunctionMode):  # type: ignore[misc]  # torch is untyped here
    """Answers which experts have tokens, and which: all of them, and as many each."""

    def __init__(self, experts: int, choices: int) -> None:
        """Take the number of experts, and that of their choices by all tokens together."""
        super().__init__()
        self.experts, self.choices = experts, choices

    def __enter__(self) -> EqualShares:
        _running.append(self)
        return super().__enter__()  # type: ignore[no-any-return]  # torch is untyped here

    def __exit__(self, *error: Any) -> None:
        _running.pop()
        super().__exit__(*error)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Answer for `func` where its output is of a size that depends on values."""
        value: Any = args[0] if args else None
        if func in (torch.nonzero, torch.Tensor.nonzero) and value.dim() == 1:
            return [torch.tensor([expert]) for expert in range(self.experts)]
        if func is torch.where and len(args) == 1:
            share = math.ceil(value.numel() / self.experts)
            return tuple(
                torch.empty(share, dtype=torch.long, device=value.device)
                for _ in range(value.dim())
            )
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def usual_values(model: Any) -> Iterator[None]:
    """Let experts have equal shares of the tokens, and patches the usual size, meanwhile."""
    wrapped = []
    as_list = FakeTensor.tolist
    FakeTensor.tolist = _with_shares_listed(as_list)
    validates = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    for module in model.modules():
        experts = next((n for n in (getattr(module, name, None) for name in _EXPERTS) if n), None)
        if isinstance(experts, int):
            module.forward = _with_shares(module.forward, module, experts)
            wrapped.append(module)
        if type(module).__name__ == "BltPatcher":
            module.patch_lengths_from_entropies = _usual_patches
            wrapped.append(module)
    try:
        yield
    finally:
        FakeTensor.tolist = as_list
        torch.distributions.Distribution.set_default_validate_args(validates)
        for module in wrapped:
            for name in ("forward", "patch_lengths_from_entropies"):
                module.__dict__.pop(name, None)


def _with_shares(forward: Callable[..., Any], module: Any, experts: int) -> Callable[..., Any]:
    def shared(*arguments: Any, **options: Any) -> Any:
        choices = len(arguments[0]) * int(getattr(module, "top_k", 0) or 0) if arguments else 0
        with EqualShares(experts, choices):
            return forward(*arguments, **options)

    return shared


def _with_shares_listed(as_list: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a FakeTensor's `tolist` (a mode sees no calls of it) that lists experts' tokens."""

    def tolist(tensor: Any) -> Any:
        shares = _running[-1] if _running else None
        if shares is None or not shares.choices or tuple(tensor.shape) != (shares.experts,):
            return as_list(tensor)
        least, more = divmod(shares.choices, shares.experts)
        return [least + (expert < more) for expert in range(shares.experts)]

    return tolist


def _usual_patches(
    entropies: Any, sequence_length: int, patch_size: int | None = None, **_: Any
) -> Any:
    """Return the lengths of the first two patches, of one byte, and of the others."""
    number = 2 + math.ceil((sequence_length - 2) / (patch_size or 1))
    return torch.empty((len(entropies), number), dtype=torch.long, device=entropies.device)
