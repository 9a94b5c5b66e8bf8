"""Which piece of each trained parameter a rank holds, with its fp32 master weights and moments.

ZeRO-3 cuts every parameter, laid out flat, into equal pieces, the last one padded. ZeRO-2 lays the
parameters of a group one behind the other and cuts the whole: a rank may hold all of a parameter,
some of it, or none. Both keep a rank's pieces of a group in one flat tensor, which is what the
optimizer steps on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

ATTRIBUTES = {
    3: (
        "fp16_groups",
        "fp32_partitioned_groups_flat",
        "_reassign_or_swap_out_partitioned_parameters",
        "checkpoint_event_prologue",
        "checkpoint_event_epilogue",
    ),
    2: ("bit16_groups", "single_partition_of_fp32_groups", "update_lp_params"),
}
"""What is read of DeepSpeed's optimizer, by ZeRO stage: no part of its interface, it may change."""


@dataclass(frozen=True)
class Fragment:
    """This rank's piece of a parameter: a run of its elements, as they lie in memory."""

    name: str
    shape: torch.Size
    """Of the whole parameter."""
    start: int
    length: int
    """In elements; 0 where this rank holds nothing of it."""
    master: torch.Tensor
    """The flat fp32 tensor of the group that it belongs to."""
    offset: int
    """Where it begins there."""

    def of(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the piece of a tensor that is laid out as `master` is."""
        return flat.detach().narrow(0, self.offset, self.length)


def missing_attribute(optimizer: Any, stage: int) -> str | None:
    """Return what the installed DeepSpeed's optimizer lacks of ATTRIBUTES; None: nothing."""
    return next((name for name in ATTRIBUTES[stage] if not hasattr(optimizer, name)), None)


def fragments(engine: Any) -> list[Fragment]:
    """Return this rank's pieces of all trained parameters. `engine`: DeepSpeed's, with a model."""
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    cut = _stage_3 if engine.zero_optimization_stage() == 3 else _stage_2
    return list(cut(engine.optimizer, names))


def _stage_3(optimizer: Any, names: dict[int, str]) -> Iterator[Fragment]:
    rank = torch.distributed.get_rank()
    flats = optimizer.fp32_partitioned_groups_flat
    for group, flat in zip(optimizer.fp16_groups, flats, strict=True):
        offset = 0
        for parameter in group:
            size = parameter.partition_numel()
            start = min(rank * size, parameter.ds_numel)
            length = min(size, parameter.ds_numel - start)
            name = names[id(parameter)]
            yield Fragment(name, parameter.ds_shape, start, length, flat, offset)
            offset += size


def _stage_2(optimizer: Any, names: dict[int, str]) -> Iterator[Fragment]:
    flats = optimizer.single_partition_of_fp32_groups
    for group, flat in zip(optimizer.bit16_groups, flats, strict=True):
        for parameter in group:
            held, name = parameter._hp_mapping, names[id(parameter)]
            if held is None:
                yield Fragment(name, parameter.shape, 0, 0, flat, 0)
                continue
            whole, own = held.lp_fragment_address, held.hp_fragment_address
            yield Fragment(name, parameter.shape, whole.start, whole.numel, flat, own.start)


def masters_to_weights(engine: Any) -> None:
    """Round the fp32 master weights to those that the model computes with. Collective."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() != 3:
        optimizer.update_lp_params()
        return
    optimizer.checkpoint_event_prologue()
    for number in range(len(optimizer.fp16_groups)):
        optimizer._reassign_or_swap_out_partitioned_parameters(number)
    optimizer.checkpoint_event_epilogue()


def elements(parameter: Any) -> int:
    """Return the elements of a whole parameter, of which a rank may hold a piece."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
