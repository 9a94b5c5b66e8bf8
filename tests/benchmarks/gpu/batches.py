"""Batches of random tokens: full rows, and samples with the lengths of Alpaca's."""

from __future__ import annotations

import random
from typing import Any

from tests.benchmarks.gpu.sizes import DEVICE, LENGTH, TINY

Batch = tuple[Any, Any, dict[str, Any], int]
"""Token ids, labels, keyword arguments of the model, tokens that count."""


def lengths(seed: int) -> list[int]:
    """Return lengths like those of Alpaca's samples, in tokens."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    low, high = (8, LENGTH // 4) if TINY else (16, 1200)
    return [max(low, min(high, int(choose.lognormvariate(4.3, 0.7)))) for _ in range(9999)]


def full(vocabulary: int, batch: int) -> Batch:
    """Rows of full length."""
    import torch

    ids = torch.randint(5, vocabulary, (batch, LENGTH), device=DEVICE)
    return ids, ids.clone(), {}, batch * LENGTH


def padded(vocabulary: int, batch: int, seed: int) -> Batch:
    """Short samples, padded to the longest of them."""
    import torch

    some = lengths(seed)[:batch]
    width = -(-max(some) // 8) * 8
    ids = torch.randint(5, vocabulary, (batch, width), device=DEVICE)
    labels, mask = ids.clone(), torch.ones_like(ids)
    for row, length in enumerate(some):
        labels[row, length:], mask[row, length:] = -100, 0
    return ids, labels, {"attention_mask": mask}, sum(some)


def packed(vocabulary: int, seed: int, rows: int = 2) -> Batch:
    """Short samples one after the other in one row, with positions that begin anew."""
    import torch

    room = rows * LENGTH
    some: list[int] = []
    for length in lengths(seed):
        if sum(some) + length > room:
            break
        some.append(length)
    counted = sum(some)
    some += [room - counted] if counted < room else []
    ids = torch.randint(5, vocabulary, (1, room), device=DEVICE)
    labels = ids.clone()
    bounds = torch.tensor([0, *some], device=DEVICE).cumsum(0, dtype=torch.int32)
    labels[0, bounds[:-1].long()] = -100
    labels[0, counted:] = -100
    positions = torch.cat([torch.arange(length) for length in some])[None].to(DEVICE)
    more = {"position_ids": positions, "cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
    longest = {"max_length_q": max(some), "max_length_k": max(some)}
    return ids, labels, {**more, **longest}, counted
