"""How much of a GPU's memory a training step takes, by a closed form.

The form follows FSDP 2 as accelerate applies it: every layer is a unit, the input embedding one,
the final norm with the output head one that stays unsharded; each is all-gathered while another
computes. A step's peak lies in one of a few phases; each is the sum of what is held then. Checked
against PyTorch's memory tracker on tensors without values (`plan --exact`):
tests/predict/test_memory.py.
"""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.frozen import frozen
from hpclaunch.predict.activations import backward_bytes, saved_bytes
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES, TrainingStep

SAMPLING = 3
"""Tensors in fp32 over the vocabulary that choosing a token holds, a row a sequence: logits,
probabilities and the sorted ones of top_p; an estimate."""
GIB = 2**30

ALLOCATOR = 0.06
"""Share of the tensors that the caching allocator reserves beside them, with expandable segments;
an estimate."""
CONTEXT = 1.0 * GIB
"""Bytes of the CUDA context with the libraries' workspaces; an estimate."""
COLLECTIVES = 1.0 * GIB
"""Bytes of NCCL's buffers where there are several GPUs; an estimate."""

BLOCK, NESTED_BLOCK = 64, 256
"""4-bit parameters that share a scale, and scales that share one with double quantization:
bitsandbytes' defaults (`blocksize`, `nested` of quantize_4bit)."""
NF4_SAVED_BYTES = 1.5
"""Bytes that a parameter in 4 bits (half a byte) is smaller than one in bf16."""

HEAD_ROWS, HEAD_COLUMNS = 4096, 32768
"""Tile of logits that TRL's fused loss works on (trl/kernels/chunked_logprob.py)."""

FORWARD_END_HIDDEN, FORWARD_END_HIDDEN_FULL = 4, 5.3
"""`HIDDEN` tensors beside the layers' inputs at the end of the forward pass: of adapters, of a full
fine-tune."""
LAYER_GRADIENTS = 1.5
"""Gradients of a full fine-tune that are unsharded at once, in layers: the layer's own while they
are computed, and those of the one before, while they are reduce-scattered."""


ZERO_BUCKET, ZERO_LIVE = 5e8, 1e9
"""Elements of DeepSpeed's buffer for gradients that are reduced, and of parameters that ZeRO-3
keeps gathered: its defaults (reduce_bucket_size, stage3_max_live_parameters)."""


@frozen
class Memory:
    """Bytes on one GPU at the peak of a step."""

    phase: str
    """What the step does then."""
    weights: int
    """Bytes of this rank's shard of the parameters."""
    scales: int
    """Bytes of the scales of 4-bit weights; every rank holds all of them."""
    gradients: int
    optimizer: int
    activations: int
    """Bytes saved for the backward pass, and what the layer or the loss at work needs."""
    unsharded: int
    """Bytes of layers and embeddings that are unsharded (all-gathered) then."""
    allocator: int
    """Bytes that the caching allocator reserves and no tensor uses."""
    context: int
    """Bytes of CUDA's context, and of NCCL's buffers."""

    @property
    def tensors(self) -> int:
        """Bytes that PyTorch counts as allocated."""
        held = self.weights + self.scales + self.gradients + self.optimizer
        return held + self.activations + self.unsharded

    @property
    def total(self) -> int:
        """Bytes that the GPU shows as used."""
        return self.tensors + self.allocator + self.context


@frozen
class _PeakPhase:
    """A phase in which the peak may lie, with the bytes that differ between phases."""

    name: str
    gradients: float
    activations: float
    unsharded: float

    @property
    def total(self) -> float:
        return self.gradients + self.activations + self.unsharded


@frozen
class _Shard:
    """Bytes that a rank holds all the time."""

    weights: float
    scales: float
    gradients: float
    optimizer: float


def memory(training: TrainingStep) -> Memory:
    """Return the memory of a step's peak on one GPU, in bytes."""
    shard = _shard(training)
    peak = max(_phases(training, shard.gradients), key=lambda phase: phase.total)
    weights, optimizer = (0.0, 0.0) if training.offload else (shard.weights, shard.optimizer)
    tensors = weights + shard.scales + optimizer + peak.total
    return Memory(
        phase=peak.name,
        weights=int(weights),
        scales=int(shard.scales),
        gradients=int(peak.gradients),
        optimizer=int(optimizer),
        activations=int(peak.activations),
        unsharded=int(peak.unsharded),
        allocator=int(ALLOCATOR * tensors),
        context=int(CONTEXT + (COLLECTIVES if training.shards > 1 else 0)),
    )


def _shard(training: TrainingStep) -> _Shard:
    """Return what one rank holds of weights, gradients and optimizer, all of them sharded."""
    model = training.model
    shards = 1 if training.sharding == "none" else training.shards
    trained = training.trained_parameters
    padding = model.layers * model.padding(shards)
    trained += padding if training.method == "full" else 0
    held = model.tower_parameters
    if training.method != "full":
        held = model.parameters + padding - training.missing_head
    alone = training.method == "full" and training.sharding == "none"  # then all is loaded in fp32
    frozen = float((FP32_BYTES if alone else BF16_BYTES) * held)
    if training.objective.reference_copy:
        frozen += BF16_BYTES * (model.parameters + padding)
    scales = 0.0
    if training.method == "qlora":
        frozen -= NF4_SAVED_BYTES * model.quantized_parameters
        blocks = model.quantized_parameters / BLOCK
        nested = blocks + FP32_BYTES * blocks / NESTED_BLOCK  # one byte each, and their own scales
        scales = nested if training.double_quant else FP32_BYTES * blocks
    if training.deepspeed and training.sharding == "full":  # a copy in 16 bits beside the masters
        frozen += BF16_BYTES * trained
    return _Shard(
        weights=(frozen + training.optimizer.parameter_bytes * trained) / shards,
        scales=scales,
        gradients=training.optimizer.parameter_bytes * trained / shards,
        optimizer=training.optimizer.state_bytes * trained / shards,
    )


def _phases(training: TrainingStep, gradients: float) -> list[_PeakPhase]:
    """Return the phases in which the peak may lie."""
    model, shards = training.model, training.shards
    full, sharded = training.method == "full", training.sharding != "none"
    hidden_bytes = float(BF16_BYTES * model.hidden_size * training.tokens)
    layer, head = _layer_bytes(training), float(BF16_BYTES * model.embedding_parameters)
    saved, backward = saved_bytes(training), backward_bytes(training)
    tile = float(BF16_BYTES * min(training.tokens, HEAD_ROWS))
    tile *= 0 if training.objective.scores else min(HEAD_COLUMNS, model.vocab_size)
    output = 0.0 if training.objective.scores else head
    # What stays unsharded from its turn in the forward pass to its turn in the backward one.
    stays = model.layers * layer + head if training.sharding == "grad" else 0.0
    if training.objective.reference_copy and sharded:
        stays += head  # its output head: nothing shards it again, for it has no backward pass
    own = 1.0 if sharded else 0.0
    again = 0.0 if training.sharding == "grad" else own
    # All-gather fills one flat buffer, and copies out of it. A single rank copies its parameters
    # one by one, without the buffer (torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py).
    buffers = 2 if shards > 1 else 1
    # Of stacked experts one set more: so the simulation has it; why was not looked at.
    experts = BF16_BYTES * model.stacked_parameters
    layer_grads = LAYER_GRADIENTS * layer + experts if full and sharded else 0.0
    reduced = max(0.0, gradients - 2 * (head + layer) / shards) if full else gradients
    head_grad = 3 * output if full else 0.0  # in fp32, then once more in bf16
    ended = saved + (FORWARD_END_HIDDEN_FULL if full else FORWARD_END_HIDDEN) * hidden_bytes
    loss = ended + 3 * hidden_bytes + tile + head_grad
    last = stays + again * buffers * layer + layer_grads
    first = stays + again * (layer + head) + layer_grads
    phases = [
        _PeakPhase(
            "all-gather of the output head", 0, ended, stays + own * (buffers * output + layer)
        ),
        _PeakPhase("logits", 0, ended + tile, stays + own * buffers * output),
        _PeakPhase("loss", 0, loss, stays + own * output),
        _PeakPhase("backward of the last layer", 0, saved + backward, last),
        _PeakPhase("backward of the first layer", reduced, backward + hidden_bytes, first),
    ]
    phases += _generation(training, stays, own * (2 * layer + head))
    # The output head's part of a tied embedding's gradient waits for the input's.
    tied = head if model.tie_word_embeddings else 0.0
    if full and sharded:
        own_part = gradients + 2 * head / shards
        phases.append(_PeakPhase("gradient of the embedding", own_part, 0, 2 * head + tied))
    elif full:
        phases += [
            _PeakPhase("optimizer", gradients, 0, 0),
            _PeakPhase("gradient of the embedding", gradients + 2 * tied, 0, 0),
        ]
    return [_under_zero(each, training, gradients) for each in phases]


def _under_zero(phase: _PeakPhase, training: TrainingStep, gradients: float) -> _PeakPhase:
    """Return a phase as DeepSpeed has it: its buffers, and gradients in fp32 in all phases."""
    if not training.deepspeed:
        return phase
    live = min(ZERO_LIVE, training.model.parameters) if training.sharding == "full" else 0
    held = max(phase.unsharded, BF16_BYTES * live) + BF16_BYTES * ZERO_BUCKET
    return replace(phase, gradients=max(phase.gradients, gradients), unsharded=held)


def _generation(training: TrainingStep, stays: float, unsharded: float) -> list[_PeakPhase]:
    """Return the phase in which a rank writes completions, where it does.

    `stays`: bytes that stay unsharded; `unsharded`: those of a layer at a time.
    """
    if not training.objective.generated_tokens:
        return []
    held = kv_cache_bytes(training) * (1 + 1 / training.model.layers)  # one is copied to grow
    scores = float(SAMPLING * FP32_BYTES * training.model.vocab_size)
    scores *= training.objective.generated_sequences
    return [_PeakPhase("generation", 0, held + scores, stays + unsharded)]


def kv_cache_bytes(training: TrainingStep) -> float:
    """Return the bytes of keys and values of all completions that a rank writes at a time.

    As Transformers' dynamic cache holds them: of every layer, and of all tokens, which is more than
    layers with a sliding window need.
    """
    model = training.model
    token = 2 * BF16_BYTES * model.layers * model.num_kv_heads * model.head_dim
    return float(token * training.seq_len * training.objective.generated_sequences)


def _layer_bytes(training: TrainingStep) -> float:
    """Return the bytes of one unsharded layer."""
    model = training.model
    ranks = 1 if training.sharding == "none" else training.shards
    layer = float(BF16_BYTES * (model.layer_parameters + model.padding(ranks)))
    if training.method == "qlora":
        layer -= NF4_SAVED_BYTES * model.quantized_parameters / model.layers
    return layer + BF16_BYTES * training.adapter_parameters / model.layers
