"""Models that compute one token after the other: simulated with many short samples.

Without kernels of their own, recurrences (RWKV, Mamba, Griffin) are a loop over the tokens, of
which a simulation would track every operation of thousands of rounds. What a step keeps of a round
is of each token, whatever sample it is in: samples of SHORT tokens, and more of them, take the same
memory. What is held of one round alone is that of more samples: some percent too much (90 to 120
tokens in 6 and 8 samples: RWKV 0.6%, Mamba 4.7%).
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as masks

from hpclaunch.train.simulation.attention_kernel import kernel_of_a_gpu, reads_mask
from hpclaunch.train.simulation.few_layers import decoder_layers
from hpclaunch.train.simulation.model import build, materialize
from hpclaunch.train.simulation.values import usual_values

SHORT = 16
"""Tokens of a sample, in place of a recipe's."""
_PROBES = (64, 128)
"""Lengths of samples of which the operations are counted: whole pieces of those models that loop
over pieces of a sample."""
_KERNELS = ("sdpa", "eager")
_PER_TOKEN = 2
"""Operations of a layer for each further token from which on it loops over tokens."""


def folded(request: dict[str, Any], layers: int) -> dict[str, Any]:
    """Return a `simulate` request with short samples, and more, where the model loops over tokens.

    `layers`: how many have all kinds. Attention whose memory grows with the square of a sample's
    length leaves the request as it is.
    """
    length = int(request["seq_len"])
    if length < 2 * _PROBES[1] or not _loops(request, layers):
        return request
    # A sample's first token has no state before it, of which to keep anything: it does not count.
    samples = math.ceil(int(request["micro_batch_size"]) * length / (SHORT - 1))
    return {**request, "seq_len": SHORT, "micro_batch_size": samples}


def _loops(request: dict[str, Any], layers: int) -> bool:
    """Return whether a layer loops over tokens, and no attention is in the way."""
    (few, _), (more, attention) = _operations(request, layers)
    further = max(more[layer] - few[layer] for layer in more)
    # Gemma 2 has eager attention unasked.
    squared = "eager" in attention or (attention and request.get("mask", True))
    return further >= _PER_TOKEN * (_PROBES[1] - _PROBES[0]) and not squared


def _operations(request: dict[str, Any], layers: int) -> list[tuple[Counter[int], set[str]]]:
    """Return the operations of each layer in a forward pass over one sample of each length.

    With them, by which kernels the model attends, where it has attention.
    """
    found = []
    model = build({**request, "method": "full"}, layers)
    counted = _Count()
    with (
        FakeTensorMode(),
        kernel_of_a_gpu(mask=reads_mask(model)),
        usual_values(model),
        _noting(counted),
    ):
        materialize(model)
        model.train()
        with contextlib.suppress(LookupError):
            for number, layer in enumerate(decoder_layers(model, layers)):
                layer.register_forward_pre_hook(lambda *_, number=number: counted.enter(number))
        for tokens in _PROBES:
            counted.begin()
            with torch.no_grad(), counted:
                model(input_ids=torch.zeros((1, tokens), dtype=torch.long))
            found.append((counted.operations, counted.attention))
    return found


@contextlib.contextmanager
def _noting(counted: _Count) -> Iterator[None]:
    """Note by which kernels a model attends: it asks for their masks."""
    kept = {kernel: masks[kernel] for kernel in _KERNELS}
    for kernel, mask in kept.items():
        masks[kernel] = counted.noting(kernel, mask)
    try:
        yield
    finally:
        masks.update(kept)


class _Count(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Counts the operations of each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Count anew, before the first layer."""
        self.operations: Counter[int] = Counter()
        self._layer = -1

    def noting(self, kernel: str, mask: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function for a kernel's mask, by which it is seen that the model attends."""

        def noted(*values: Any, **options: Any) -> Any:
            self.attention.add(kernel)
            return mask(*values, **options)

        return noted

    def enter(self, layer: int) -> None:
        """Count for another layer from now on."""
        self._layer = layer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.operations[self._layer] += 1
        return func(*args, **(kwargs or {}))
