"""How much of a GPU's memory a training step takes, by a closed form.

The form follows FSDP 2 as accelerate lays it: every layer a unit, the input embedding one, the
final norm with the output head one that stays gathered; each is gathered while another works.
A step's peak lies in one of a few moments; each is the sum of what is held then. Held against
PyTorch's memory tracker on tensors without values (`plan --exact`): tests/predict/test_memory.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpclaunch.predict.architecture import Architecture

GIB = 2**30

ALLOCATOR = 0.06
"""Share of the tensors that the caching allocator holds beside them, with expandable segments."""
CONTEXT = 1.0 * GIB
"""Bytes of the CUDA context with the libraries' workspaces; an estimate."""
COLLECTIVES = 1.0 * GIB
"""Bytes of NCCL's buffers where there are several GPUs; an estimate."""

BLOCK, NESTED_BLOCK = 64, 256
"""4-bit weights that share a scale, and scales that share one with double quantization."""

HEAD_ROWS, HEAD_COLUMNS = 4096, 32768
"""Tile of logits that TRL's fused loss works on."""

MLP_WORK, TOKEN_WORK = 9, 4
"""What the backward pass of a checkpointed layer holds at once: tensors of the MLP's width, and of
the model's. Of a gated MLP, recomputed: its two halves, their activation and product, and what
flows back through them."""
MLP_KEPT, TOKEN_KEPT, FULL_KEPT = 4, 9.9, 12
"""The same for what each layer keeps without checkpointing; a full fine-tune also keeps the inputs
of all matrices, for their gradients."""
CAST = 11
"""Tensors of the model's width more where autocast works in place of FSDP: casts of the adapters'
inputs. Without checkpointing 4.3 of them are kept."""
CAST_KEPT = 4.3
MERGED_GRADIENT = 1 / 3
"""Share of a layer's merged experts whose gradient is held beside them: the smaller of two tensors.
(PEFT adds the adapters of experts to the weights; the sum is kept for the way back.)"""
SAVED = 5.3
"""Tensors of the model's width beside the layers' inputs at the end of the forward pass."""


@dataclass(frozen=True)
class TrainingStep:
    """What is trained, and how it is laid out."""

    model: Architecture
    method: Literal["full", "lora", "qlora"]
    adapter: int
    """Numbers in the adapter, 0 for a full fine-tune."""
    sharding: Literal["full", "grad", "none"]
    """Within the ranks that share one copy."""
    shards: int
    samples: int
    """Of a micro-batch on one GPU."""
    length: int
    """Tokens of each, padding with them."""
    checkpointing: bool = True
    double: bool = True
    """Double quantization."""
    offload: bool = False
    accumulation: int = 1
    """Micro-batches of a step."""
    adapted: tuple[int, int, int] | None = None
    """Matrices of a layer with adapters, and the widths in and out of them all; None: every one."""

    @property
    def adapters(self) -> tuple[int, int, int]:
        """The same, told."""
        return self.model.adaptable if self.adapted is None else self.adapted

    @property
    def tokens(self) -> int:
        """Of a micro-batch on one GPU."""
        return self.samples * self.length


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU when the step needs most."""

    moment: str
    """What the step does then."""
    weights: int
    scales: int
    """Of 4-bit weights; every rank holds all of them."""
    gradients: int
    optimizer: int
    activations: int
    """Kept for the backward pass, and what the layer or the loss at work needs."""
    gathered: int
    """Layers and embeddings put together from all ranks for a while."""
    allocator: int
    context: int
    """CUDA, and NCCL's buffers."""

    @property
    def tensors(self) -> int:
        """What PyTorch counts as allocated."""
        held = self.weights + self.scales + self.gradients + self.optimizer
        return held + self.activations + self.gathered

    @property
    def total(self) -> int:
        """What the GPU shows as used."""
        return self.tensors + self.allocator + self.context


@dataclass(frozen=True)
class _Moment:
    name: str
    gradients: float
    activations: float
    gathered: float

    @property
    def total(self) -> float:
        return self.gradients + self.activations + self.gathered


def memory(load: TrainingStep) -> Memory:
    """Return a step's peak. `Load` describes one GPU's share of the work."""
    weights, scales, gradients, optimizer = _held(load)
    moment = max(_moments(load, gradients), key=lambda each: each.total)
    if load.offload:
        weights = optimizer = gradients = 0
    tensors = weights + scales + optimizer + moment.total
    return Memory(
        moment=moment.name,
        weights=int(weights),
        scales=int(scales),
        gradients=int(moment.gradients),
        optimizer=int(optimizer),
        activations=int(moment.activations),
        gathered=int(moment.gathered),
        allocator=int(ALLOCATOR * tensors),
        context=int(CONTEXT + (COLLECTIVES if load.shards > 1 else 0)),
    )


def trained(load: TrainingStep) -> int:
    """Numbers that are trained."""
    return load.model.weights if load.method == "full" else load.adapter


def _held(load: TrainingStep) -> tuple[float, float, float, float]:
    """Bytes of weights, scales, gradients and optimizer on one rank, all of them sharded."""
    model, shards = load.model, 1 if load.sharding == "none" else load.shards
    number = trained(load)
    padding = model.layers * model.padding(shards)
    number += padding if load.method == "full" else 0
    # Trained weights are held in 32 bits and worked with in 16; frozen ones are 16 or 4 bits.
    frozen = 0.0 if load.method == "full" else 2.0 * (model.weights + padding)
    scales = 0.0
    if load.method == "qlora":
        frozen -= 1.5 * model.quantized
        blocks = model.quantized / BLOCK
        scales = blocks + 4 * blocks / NESTED_BLOCK if load.double else 4 * blocks
    return (frozen + 4 * number) / shards, scales, 4 * number / shards, 8 * number / shards


def _moments(load: TrainingStep, gradients: float) -> list[_Moment]:
    """List the moments at which the peak may lie."""
    model, shards = load.model, load.shards
    full, sharded = load.method == "full", load.sharding != "none"
    token, span = 2.0 * model.width * load.tokens, 2.0 * model.mlp_width * load.tokens
    layer, head = _layer_bytes(load), 2.0 * model.embedding
    mask = 2.0 * load.tokens * load.length
    """Of attention: one a micro-batch where samples are padded."""
    kept = model.layers * _kept(load, token, span, mask)
    work = MLP_WORK * span + (TOKEN_WORK + (0 if sharded or full else CAST)) * token + mask
    if not load.checkpointing:
        work /= 2
    if not full:
        work += (MERGED_GRADIENT + load.checkpointing) * 2.0 * model.merged
    tile = 2.0 * min(load.tokens, HEAD_ROWS) * min(HEAD_COLUMNS, model.vocabulary)
    # What stays put together from its turn in the forward pass to its turn in the backward one.
    stays = model.layers * layer + head if load.sharding == "grad" else 0.0
    own = 1.0 if sharded else 0.0
    back = 0.0 if load.sharding == "grad" else own
    # All-gather fills one flat buffer, and copies out of it. A single rank copies its parameters
    # one by one, without the buffer (torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py).
    buffers = 2 if shards > 1 else 1
    # A layer's own gradients while they are made, and those of the one before on their way.
    # Of stacked experts one set more: so the simulation has it; why was not looked at.
    grads = 1.5 * layer + 2.0 * model.stacked if full and sharded else 0.0
    before = max(0.0, gradients - 2 * (head + layer) / shards) if full else gradients
    weight_grad = 3 * head if full else 0.0  # in 32 bits, then once more in 16
    ended = kept + SAVED * token
    moments = [
        _Moment("gathering the output head", 0, ended, stays + own * (buffers * head + layer)),
        _Moment("scoring the tokens", 0, ended + tile, stays + own * buffers * head),
        _Moment("the loss", 0, ended + 3 * token + tile + weight_grad, stays + own * head),
        _Moment(
            "the last layer, going back", 0, kept + work, stays + back * buffers * layer + grads
        ),
        _Moment(
            "the first layer, going back",
            before,
            work + token,
            stays + back * (layer + head) + grads,
        ),
    ]
    # The output head's share of a tied embedding's gradient waits for the input's.
    waits = head if model.tied else 0.0
    if full and sharded:
        own_share = gradients + 2 * head / shards
        moments.append(_Moment("the embedding's gradient", own_share, 0, 2 * head + waits))
    elif full:
        moments.append(_Moment("the optimizer", gradients, 0, 0))
        moments.append(_Moment("the embedding's gradient", gradients + 2 * waits, 0, 0))
    return moments


def _kept(load: TrainingStep, token: float, span: float, mask: float) -> float:
    """Bytes that a layer keeps for the backward pass."""
    if load.checkpointing:
        return token
    full = load.method == "full"
    tokens = FULL_KEPT if full else TOKEN_KEPT
    if load.sharding == "none" and not full:
        tokens += CAST_KEPT
    merged = 0.0 if full else 2.0 * load.model.merged
    return MLP_KEPT * span + tokens * token + mask + merged


def _layer_bytes(load: TrainingStep) -> float:
    """Bytes of one layer put together for work."""
    model = load.model
    ranks = 1 if load.sharding == "none" else load.shards
    whole = 2.0 * (model.layer_weights + model.padding(ranks))
    if load.method == "qlora":
        whole -= 1.5 * model.quantized / model.layers
    return whole + 2.0 * load.adapter / model.layers
