"""4-bit weights of a shard, quantized piece by piece, are those of the whole matrix bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from hpclaunch.predict.estimate import QUANTIZED_AT_ONCE
from hpclaunch.train.loading import four_bit

pytestmark = pytest.mark.train


def test_the_plan_counts_the_pieces_that_a_gpu_holds() -> None:
    assert four_bit.PIECE["cuda"] == QUANTIZED_AT_ONCE


@pytest.mark.parametrize(
    ("shape", "ranks", "storage", "block"),
    [
        ((35, 67), 2, "uint8", 64),  # an odd number of weights, and no whole number of blocks
        ((35, 67), 3, "uint8", 64),
        ((64, 96), 4, "bfloat16", 64),
        ((5, 4096), 2, "float32", 128),  # a row is longer than a piece
        ((2, 33), 4, "uint8", 64),  # a rank has no weights
    ],
)
def test_pieces_of_shards_are_the_whole(
    shape: tuple[int, int], ranks: int, storage: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from bitsandbytes.functional import QuantState, quantize_4bit

    monkeypatch.setitem(four_bit.PIECE, "cpu", 300)
    torch.manual_seed(1)
    matrix, kind = torch.randn(shape).bfloat16(), getattr(torch, storage)
    options: dict[str, Any] = {"blocksize": block, "quant_type": "nf4", "quant_storage": kind}
    codes, whole = quantize_4bit(matrix, **options)
    read = []

    def rows(first: int, last: int) -> torch.Tensor:
        read.append(last - first)
        return matrix[first:last]

    state = QuantState(
        absmax=None, shape=matrix.shape, blocksize=block, quant_type="nf4", dtype=torch.bfloat16
    )
    share = -(-len(codes) // ranks)
    parts = [
        four_bit.own_codes(rows, state, shard, kind, torch.device("cpu"))
        for shard in pairwise(min(rank * share, len(codes)) for rank in range(ranks + 1))
    ]
    found, scales = (torch.cat(each) for each in zip(*parts, strict=True))
    assert torch.equal(found.view(torch.uint8), codes.view(torch.uint8))
    assert torch.equal(scales, whole.absmax)
    assert max(read) <= 300 // shape[1] + 2
