"""Pieces that run on in memory, as ZeRO cuts parameters: written as parts of whole tensors."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict_loader import load

from hpclaunch.train.checkpoint.state_tree import read_tree
from hpclaunch.train.checkpoint.storage_reader import SafetensorsReader
from hpclaunch.train.checkpoint.storage_writer import SafetensorsWriter
from hpclaunch.train.zero.pieces import Piece, PieceLoadPlanner, PieceSavePlanner, boxes

SHAPES = [(), (1,), (7,), (5, 3), (4, 1), (3, 4, 5), (2, 1, 3, 2)]


def cut(whole: torch.Tensor, *shares: float) -> list[Piece]:
    """Cut a tensor at shares of it, wherever a row ends; some pieces are empty."""
    flat = whole.reshape(-1)
    bounds = [0, *(round(share * flat.numel()) for share in shares), flat.numel()]
    return [
        Piece(whole.shape, start, flat[start:end].clone())
        for start, end in itertools.pairwise(bounds)
    ]


def write(folder: Path, ranks: list[dict[str, Piece]]) -> None:
    """Write what several ranks hold, without a process group."""
    planners = []
    for rank, held in enumerate(ranks):
        planners.append(PieceSavePlanner())
        planners[-1].set_up_planner({"model": held}, is_coordinator=rank == 0)
    plans, metadata = planners[0].create_global_plan(
        [each.create_local_plan() for each in planners]
    )
    writer = SafetensorsWriter(folder)
    writer.prepare_local_plan(plans[0])
    plans = writer.prepare_global_plan(plans)
    results = [
        writer.write_data(planner.finish_plan(plan), planner).wait()
        for plan, planner in zip(plans, planners, strict=True)
    ]
    writer.finish(metadata, results)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_are_the_elements_in_their_order(shape: tuple[int, ...]) -> None:
    whole = torch.arange(torch.Size(shape).numel()).view(shape)
    for start in range(whole.numel()):
        for length in range(whole.numel() - start + 1):
            found = [
                whole[tuple(slice(at, at + n) for at, n in zip(offsets, sizes, strict=True))]
                for offsets, sizes in boxes(shape, start, length)
            ]
            order = [number for each in found for number in each.reshape(-1).tolist()]
            assert order == list(range(start, start + length))


def test_other_ranks_read_what_was_cut_otherwise(tmp_path: Path) -> None:
    whole = {f"weight.{n}": torch.randn(shape) for n, shape in enumerate(SHAPES)}
    written = {name: cut(each, 0.3, 0.55) for name, each in whole.items()}
    write(
        tmp_path / "state",
        [{name: each[rank] for name, each in written.items()} for rank in range(3)],
    )
    held = read_tree(tmp_path / "state")["model"]
    assert all(torch.equal(held[name], each) for name, each in whole.items())
    for name, each in whole.items():
        parts = cut(torch.zeros_like(each), 0.45)
        for part in parts:
            load(
                {f"model.{name}": part},
                storage_reader=SafetensorsReader(tmp_path / "state"),
                planner=PieceLoadPlanner(),
                no_dist=True,
            )
        read = [value.reshape(-1) for part in parts for value in part._parts.values()]
        assert torch.equal(torch.cat([torch.zeros(0), *read]), each.reshape(-1)), name
