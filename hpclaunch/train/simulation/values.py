"""What a step does by the values of its tokens, with the usual values: for tensors without any.

Experts that are computed in a loop over those which have tokens (DBRX, LongCat, JetMoE) get as many
tokens each. BLT's patches, which end where the next byte is hard to foresee, are of the config's
`patch_size`. XLM's samples are as long as their tensor, X-MOD's are all of its default language.
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


class _WholeSamples(TorchFunctionMode):  # type: ignore[misc]  # torch is untyped here
    """Answers how long the longest sample is: as its tensor, for nothing is padded."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.tokens if func is torch.Tensor.item else func(*args, **(kwargs or {}))


class _OneLanguage(TorchFunctionMode):  # type: ignore[misc]  # torch is untyped here
    """Answers which samples are of each language: all of the default one, none of another."""

    def __init__(self, default: int) -> None:
        super().__init__()
        self.default = default
        self._is_default = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (torch.Tensor.eq, torch.Tensor.__eq__):
            self._is_default = args[1] == self.default
        elif func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            value, mask, *new = args
            if isinstance(mask, torch.Tensor) and mask.dtype is torch.bool:
                chosen = torch.arange(len(value) if self._is_default else 0, device=value.device)
                return func(value, chosen, *new)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def usual_values(model: Any) -> Iterator[None]:
    """Let experts have equal shares of the tokens, patches the usual size, and so on, meanwhile."""
    wrapped = []
    as_list = FakeTensor.tolist
    FakeTensor.tolist = _with_shares_listed(as_list)
    validates = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    language = 0
    for module in model.modules():
        if type(module).__name__ == "XmodModel":  # comes before what is in it
            language = list(module.config.languages).index(module.config.default_language)
        in_mode = _MODES.get(type(module).__name__)
        if in_mode is not None:
            module.forward = in_mode(module.forward, language)
            wrapped.append(module)
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


def _of_whole_samples(forward: Callable[..., Any], _: int) -> Callable[..., Any]:
    def whole(*arguments: Any, **options: Any) -> Any:
        ids = arguments[0] if arguments else options["input_ids"]
        with _WholeSamples(ids.shape[1]):
            return forward(*arguments, **options)

    return whole


def _of_one_language(forward: Callable[..., Any], language: int) -> Callable[..., Any]:
    def alike(*arguments: Any, **options: Any) -> Any:
        with _OneLanguage(language):
            return forward(*arguments, **options)

    return alike


_MODES = {"XLMModel": _of_whole_samples, "XmodOutput": _of_one_language}
"""By the class of a module, what answers for its values."""


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
