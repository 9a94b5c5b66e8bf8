"""4-bit weights quantized by each rank from its own rows, bit for bit as if quantized whole.

bitsandbytes quantizes blocks of consecutive weights independently. A rank's shard is a range of the
packed codes; it is widened to whole blocks, those rows are read and quantized, and the shard is cut
out. Block scales (absmax) are gathered, for every rank keeps all of them, and double quantization
starts from their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from hpclaunch.train.loading.names import plain_name
from hpclaunch.train.loading.reader import Reader
from hpclaunch.train.loading.shards import device_of, from_local

SCALES_BLOCK = 256
"""Block scales that double quantization takes together: bitsandbytes' own."""
PIECE = {"cpu": 2**17, "cuda": 2**22}
"""Weights that are read and quantized at a time, by type of device. On the CPU bitsandbytes holds
some 20 bytes for each of them meanwhile, on a GPU the weights and their codes."""


def layers(model: Any) -> dict[str, Any]:
    """Return the modules whose weights are held in 4 bits, by name."""
    from bitsandbytes.nn import Linear4bit

    return {name: each for name, each in model.named_modules() if isinstance(each, Linear4bit)}


def pack_on_meta(model: Any, dtype: Any) -> None:
    """Give each 4-bit weight on meta the shape that it has when quantized, and an empty QuantState.

    `dtype`: type that the weights are loaded in.
    """
    from bitsandbytes.functional import QuantState, create_dynamic_map, get_4bit_type
    from bitsandbytes.nn import Params4bit

    for module in layers(model).values():
        weight = module.weight
        blocks = -(-weight.numel() // weight.blocksize)
        nested = None
        if weight.compress_statistics:
            nested = QuantState(
                absmax=torch.empty(-(-blocks // SCALES_BLOCK), device="meta"),
                code=create_dynamic_map(),
                blocksize=SCALES_BLOCK,
                dtype=torch.float32,
            )
        scales = torch.empty(blocks, dtype=torch.uint8 if nested else torch.float32, device="meta")
        state = QuantState(
            absmax=scales,
            shape=weight.shape,
            code=get_4bit_type(weight.quant_type, device="cpu"),
            blocksize=weight.blocksize,
            quant_type=weight.quant_type,
            dtype=dtype,
            offset=torch.tensor(0.0) if nested else None,
            state2=nested,
        )
        elements = -(-weight.numel() // _weights_in(weight.quant_storage))
        module.weight = Params4bit(
            torch.empty(elements, 1, dtype=weight.quant_storage, device="meta"),
            requires_grad=False,
            quant_state=state,
            blocksize=weight.blocksize,
            compress_statistics=weight.compress_statistics,
            quant_type=weight.quant_type,
            quant_storage=weight.quant_storage,
            module=module,
            bnb_quantized=True,
        )
        module.weight._is_hf_initialized = True
        module.quant_state = state


def quantize_shards(
    model: Any, reader: Reader, *, cpu_offload: bool = False
) -> Iterator[tuple[str, DTensor]]:
    """Yield this rank's shard of each 4-bit weight, by name, and complete its QuantState.

    Collective: the ranks that share a copy of the model gather the block scales.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, module in layers(model).items():
        like = parameters[f"{name}.weight"]
        source = reader.only_source(plain_name(f"{name}.weight"))
        codes, scales = own_codes(
            lambda first, last, source=source: source[first:last],  # type: ignore[misc]  # no types here
            module.quant_state,
            _range(like),
            like.dtype,
            device_of(like),
        )
        _complete(module.quant_state, gather_scales(scales, module.quant_state, like))
        yield f"{name}.weight", from_local(codes, like, cpu_offload=cpu_offload)


def read_shards(
    model: Any, kept: Reader, *, cpu_offload: bool = False
) -> Iterator[tuple[str, DTensor]]:
    """Yield this rank's shard of each 4-bit weight, by name, as an earlier start quantized it.

    `kept`: files in Transformers' layout of quantized weights. Completes the weights' QuantState.
    """
    from bitsandbytes.functional import QuantState

    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, module in layers(model).items():
        like = parameters[f"{name}.weight"]
        plain = plain_name(f"{name}.weight")
        first, last = _range(like)
        codes = kept.only_source(plain)[first:last].to(device_of(like))
        parts = {part: kept.only_source(f"{plain}.{part}")[:] for part in kept.parts_of(plain)}
        state = QuantState.from_dict(parts, device=device_of(like))
        for field in ("absmax", "code", "offset", "state2"):
            setattr(module.quant_state, field, getattr(state, field))
        yield f"{name}.weight", from_local(codes, like, cpu_offload=cpu_offload)


def quantize_whole(part: Any, module: Any) -> torch.Tensor:
    """Return the codes of a whole 4-bit weight, on the CPU, and complete its QuantState.

    `part`: its matrix in a file, unread.
    """
    state, like = module.quant_state, module.weight
    cpu = torch.device("cpu")
    codes, scales = own_codes(
        lambda first, last: part[first:last], state, (0, like.shape[0]), like.dtype, cpu
    )
    _complete(state, scales)
    return codes


def own_codes(
    rows: Callable[[int, int], torch.Tensor],
    state: Any,
    shard: tuple[int, int],
    storage: Any,
    device: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the packed codes of a shard, and the scales of the blocks that begin in it.

    `rows` returns a range of the matrix's rows, `state` is its QuantState, `shard` the first of its
    codes' elements, which are of type `storage`, and the one after the last.
    """
    from bitsandbytes.functional import quantize_4bit

    columns, size = state.shape[1], state.shape.numel()
    per_element = _weights_in(storage)
    begin, end = (min(each * per_element, size) for each in shard)
    if begin >= end:
        return torch.empty(0, 1, dtype=storage, device=device), torch.empty(0, device=device)
    block = state.blocksize
    codes = torch.empty(shard[1] - shard[0], 1, dtype=storage, device=device)
    scales = []
    step = PIECE.get(device.type, PIECE["cuda"]) // block * block
    for at in range(begin // block * block, end, step):
        until = min(at + step, -(-end // block) * block, size)
        read = rows(at // columns, -(-until // columns)).to(device=device, dtype=state.dtype)
        skipped = at % columns
        weights = read.reshape(-1)[skipped : skipped + until - at].contiguous()
        packed, quantized = quantize_4bit(
            weights, blocksize=block, quant_type=state.quant_type, quant_storage=storage
        )
        first, last = max(begin, at), min(end, until)
        own = packed.reshape(-1, 1)[(first - at) // per_element : -(-(last - at) // per_element)]
        place = (first - begin) // per_element
        codes[place : place + len(own)] = own
        scales.append(quantized.absmax[-(-(first - at) // block) : -(-(last - at) // block)])
    return codes, torch.cat(scales)


def gather_scales(own: torch.Tensor, state: Any, like: DTensor) -> torch.Tensor:
    """Return the scales of all blocks of a matrix whose codes are sharded as `like`. Collective."""
    import torch.distributed as dist

    mesh = like.device_mesh
    group, ranks = mesh.get_group(mesh.ndim - 1), mesh.size(mesh.ndim - 1)
    elements = _rows_of_rank(like)
    ends = [
        -(-min(rank * elements * _weights_in(like.dtype), state.shape.numel()) // state.blocksize)
        for rank in range(ranks + 1)
    ]
    counts = [after - before for before, after in pairwise(ends)]
    padded = own.new_zeros(max(counts))
    padded[: own.numel()] = own
    everyone = own.new_empty(ranks * max(counts))
    dist.all_gather_into_tensor(everyone, padded, group=group)
    parts = everyone.view(ranks, -1)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _complete(state: Any, scales: torch.Tensor) -> None:
    from bitsandbytes.functional import quantize_blockwise

    state.code = state.code.to(scales.device)
    if state.nested:
        state.offset = scales.mean()
        scales, state.state2 = quantize_blockwise(scales - state.offset, blocksize=SCALES_BLOCK)
    state.absmax = scales


def _range(like: DTensor) -> tuple[int, int]:
    """Return the first row of this rank's part, and the one after the last.

    By PyTorch's rule for Shard(0). Its own compute_local_shape_and_global_offset makes a list of
    the part's rows in 64 bits, which for packed codes takes eight times the part's memory.
    """
    mesh = like.device_mesh
    first = min(mesh.get_local_rank(mesh.ndim - 1) * _rows_of_rank(like), like.shape[0])
    return first, first + like.to_local().shape[0]


def _rows_of_rank(like: DTensor) -> int:
    """Return how many rows each rank holds, the last ones maybe fewer."""
    rows, ranks = int(like.shape[0]), int(like.device_mesh.size(like.device_mesh.ndim - 1))
    return -(-rows // ranks)


def _weights_in(storage: Any) -> int:
    """Return how many 4-bit weights an element of this type holds."""
    return 2 * int(storage.itemsize)
