"""Counts what a step moves between its large matrix products, over tensors without values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hpclaunch.train.simulation import attention_kernel
from hpclaunch.train.simulation.model import sharded_model

PRODUCTS, ATTENTION = ("mm", "addmm", "bmm"), "_scaled_dot_product"
NOTHING = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "resize_",
    "lift_fresh", "_unsafe_view",
}  # fmt: skip
"""What runs no kernel beside those operations that give a view."""
LAYOUT = {"split_with_sizes_copy", "chunk_cat"}
"""How FSDP lays out what it gathered, and what it will share out."""


@dataclass
class Count:
    """What a forward or a backward pass moves."""

    moved: int = 0
    """Bytes read and written by kernels other than large products and attention."""
    kernels: int = 0


class Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
    """Counts operations of PyTorch, each taken as a kernel that reads its inputs once."""

    def __init__(self, narrow: int) -> None:
        """Take a product for narrow, and what it moves for its work, up to that many columns."""
        super().__init__()
        self.narrow = narrow
        self.forward, self.backward = Count(), Count()
        self.current = self.forward

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count it."""
        made = func(*args, **(kwargs or {}))
        space, _, name = func._schema.name.partition("::")
        if space == "fsdp" and name in LAYOUT:
            self.current.moved += sum(map(_bytes, _tensors((args, kwargs))))
        if space != "aten" or func.is_view or name in NOTHING:
            return made
        inputs, outputs = _tensors((args, kwargs)), _tensors(made)
        if not name.endswith("_"):
            outputs = [each for each in outputs if all(each is not other for other in inputs)]
        if not outputs:
            return made
        self.current.kernels += 1
        if not name.startswith(ATTENTION) and not self._large(name, inputs):
            self.current.moved += sum(map(_bytes, [*inputs, *outputs]))
        return made

    @contextlib.contextmanager
    def fused_attention(self) -> Iterator[None]:
        """Count each call of the simulation's attention, which computes nothing, as one kernel."""
        kernel = attention_kernel.FusedAttention

        def counting(function: Callable[..., Any]) -> Any:
            def call(*args: Any) -> Any:
                self.current.kernels += 1
                return function(*args)

            return staticmethod(call)

        ways = {"forward": counting(kernel.forward), "backward": counting(kernel.backward)}
        with mock.patch.multiple(kernel, **ways):
            yield

    def _large(self, name: str, inputs: list[Any]) -> bool:
        sides = [side for each in inputs for side in each.shape[-2:]]
        return name.startswith(PRODUCTS) and min(sides) > self.narrow


def _tensors(tree: Any) -> list[Any]:
    return [each for each in tree_leaves(tree) if isinstance(each, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    """Return a tensor's bytes in memory; what is expanded is there once."""
    number = 1
    for side, stride in zip(tensor.shape, tensor.stride(), strict=True):
        number *= side if stride else 1
    return number * int(tensor.element_size())


def counted(
    request: dict[str, Any], layers: int, lengths: Sequence[int]
) -> list[tuple[Count, Count]]:
    """Count a micro-batch forward and backward at each length. `request` as `simulate` takes it."""
    made = []
    with sharded_model(request, layers) as model:
        for length in lengths:
            ids = torch.zeros((1, length), dtype=torch.long)
            with Counter(request["lora"]["r"]) as counter, counter.fused_attention():
                with torch.autocast("cpu", torch.bfloat16, enabled=request["sharding"] == "none"):
                    output = model(input_ids=ids)
                loss = output.logits.sum()
                counter.current = counter.backward
                loss.backward()
            model.zero_grad()  # or the next one adds to them
            made.append((counter.forward, counter.backward))
    return made
