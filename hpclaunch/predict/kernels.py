"""What a GPU does for a micro-batch: FLOPs of matrix products, bytes moved, kernels launched.

Most of a step is matrix products. Between them PyTorch runs norms, rotary embeddings, activations,
residuals and adapters one kernel at a time, each of which reads and writes whole tensors: of a LoRA
a sixth of the time at a hidden size of 8,192 and two fifths at 2,048. And each kernel is launched
by a CPU: short micro-batches of small models wait for it.

Bytes and kernels were counted over tensors without values, layer by layer, of Transformers' Llama
and Qwen3 under PEFT and accelerate; tests/train/test_moved.py counts again. Mixtures of experts
are taken for dense models of as many active parameters whose experts are read once a pass.
"""

from __future__ import annotations

from dataclasses import astuple, replace

from hpclaunch.frozen import frozen
from hpclaunch.predict import fused
from hpclaunch.predict.layer_costs import (
    ADAPTER_BACKWARD,
    ADAPTER_FORWARD,
    BACKWARD,
    BACKWARD_CAST,
    BACKWARD_FROZEN,
    FORWARD,
    FORWARD_CAST,
    NORM_CASTS,
    PRODUCTS,
    RECOMPUTED_LESS,
    Layer,
    attention_backward,
    attention_forward,
)
from hpclaunch.predict.memory import NF4_SAVED_BYTES
from hpclaunch.predict.training_step import TrainingStep


@frozen
class Pass:
    """What a GPU does once for a micro-batch, forward or backward."""

    flops: float
    """FLOPs of matrix products and attention, but for adapters'."""
    narrow_flops: float
    """FLOPs of adapters' products: memory-bound, so their time is that of `moved`."""
    moved: float
    """Bytes that all other kernels read and write."""
    launches: float
    """Number of kernels of the layers."""
    casts: float = 0.0
    """Bytes of `moved` that change their type on the way: such kernels are slower."""
    narrow_products: float = 0.0
    """Number of the adapters' products."""


_ENDS_FORWARD, _ENDS_BACKWARD = 45, 98
"""Bytes a token and hidden value of embedding, last norm and loss."""
_LOGITS_FORWARD, _LOGITS_BACKWARD = 4, 6
"""Bytes a token and entry of the vocabulary that the fused loss moves: written by a product and
read, and once more in the backward pass, where the gradient takes their place. An estimate."""
_AUTOCAST = 6
"""Bytes a parameter that autocast moves: fp32 to bf16, or a gradient back to fp32."""
_COPY_OUT = 2
"""Times that FSDP moves what it has all-gathered: from the flat buffer into parameters."""
_REDUCE_COPY_IN, _REDUCE_ADD = 4, 6
"""Bytes a parameter that FSDP moves: gradients into the reduce-scatter's buffer (bf16, read and
written), and this rank's shard of the sum into its fp32 gradient."""
_MERGE, _READ = 6, 2
"""Bytes a parameter of an expert that PEFT moves to add an adapter to it, and that a matrix product
reads. The first is an estimate."""

_HOOKS_FORWARD, _HOOKS_BACKWARD = {True: 65, False: 30}, {True: 110, False: 75}
"""CPU time that FSDP's hooks of a layer take, in kernel launches, with and without adapters:
measured on a CPU, with collectives that do nothing."""


EXPERTS = "kernels and bytes between an expert's products as those of a dense model's"
"""What the time of a mixture of experts rests on, for the list of assumptions."""


def passes(training: TrainingStep) -> tuple[Pass, Pass]:
    """Return the forward and the backward pass; the latter with what is recomputed."""
    if training.every_n_layers > 1 and training.activation_checkpointing:
        whole = replace(training, every_n_layers=1)
        forward_pass, backward_pass = passes(whole)
        _, kept = passes(replace(whole, activation_checkpointing=False))
        share = training.recomputed_share
        pairs = zip(astuple(backward_pass), astuple(kept), strict=True)
        mixed = (share * again + (1 - share) * once for again, once in pairs)
        return forward_pass, Pass(*mixed)
    forward, backward = _flops(training)
    moved_forward, moved_backward = _moved(training)
    launches_forward, launches_backward = _launches(training)
    layers, narrow = training.model.layers, 2.0 * training.adapter_parameters * training.tokens
    casts, products = _casts(training), 0.0
    if training.method != "full":
        products = float(PRODUCTS * layers * training.adapted_matrices.number)
    again = 2 if training.activation_checkpointing else 1
    return (
        Pass(forward, narrow, moved_forward, layers * launches_forward, casts, products),
        Pass(
            backward,
            narrow * again,
            moved_backward,
            layers * launches_backward,
            casts * again,
            # Gradients of both matrices, and of what went into each.
            products * (again + 1),
        ),
    )


def _casts(training: TrainingStep) -> float:
    """Return the bytes that casts of a pass move: in norms, and where autocast casts."""
    if training.fused_lora:
        return 0.0  # their norms and adapters are computed without
    layer, _ = _layers_of(training)
    token = float(NORM_CASTS * training.model.normed_values)
    if layer is FORWARD_CAST:
        token += FORWARD_CAST.moved(training) - FORWARD.moved(training)
    if training.method != "full" and training.sharding == "none":
        token += ADAPTER_FORWARD[False].moved(training) - ADAPTER_FORWARD[True].moved(training)
    return training.model.layers * token * training.tokens


def _layers_of(training: TrainingStep) -> tuple[Layer, Layer]:
    if training.method != "full":
        return FORWARD, BACKWARD_FROZEN
    return (FORWARD_CAST, BACKWARD_CAST) if training.sharding == "none" else (FORWARD, BACKWARD)


def _flops(training: TrainingStep) -> tuple[float, float]:
    """Return the FLOPs forward and backward, but for adapters'."""
    model = training.model
    head = 0.0 if training.objective.scores else 2.0 * model.embedding_parameters * training.tokens
    layers = 2.0 * model.layers * model.active_layer_parameters * training.tokens
    attention, scores_again = attention_flops(training) * training.tokens, 2.5
    if training.eager_attention:  # of all pairs of tokens, and kept for the backward pass
        attention, scores_again = 2.0 * attention, 2.0
    # The weights' own gradients are a third of the work; without them the backward pass has half as
    # much to do. Attention's backward pass recomputes its scores: two and a half forward ones. The
    # fused loss recomputes its logits whether layers are recomputed or not.
    backward = (head + layers) * (2 if training.method == "full" else 1) + scores_again * attention
    backward += 0 if training.fused_loss else head
    if training.activation_checkpointing:
        backward += layers + attention
    elif training.recomputed_mlps:
        backward += (
            4.0 * model.layers * model.hidden_size * model.intermediate_size * (training.tokens)
        )
    return head + layers + attention, backward


def _moved(training: TrainingStep) -> tuple[float, float]:
    """Return the bytes moved forward and backward."""
    model, casts = training.model, training.sharding != "none"
    layer, layer_backward = _layers_of(training)
    forward, backward = layer.moved(training), layer_backward.moved(training)
    if training.method != "full":
        forward += ADAPTER_FORWARD[casts].moved(training)
        backward += ADAPTER_BACKWARD[casts].moved(training)
    if training.fused_lora:
        forward, backward = fused.MOVED * forward, fused.MOVED * backward
    forward += sum(each.moved(training) for each in attention_forward(training))
    backward += sum(each.moved(training) for each in attention_backward(training))
    if training.activation_checkpointing:
        backward += forward - RECOMPUTED_LESS * model.hidden_size
    elif training.recomputed_mlps:
        backward += fused.RECOMPUTED_MOVED * forward
    logits = 0 if training.objective.scores else model.vocab_size
    ends = _ENDS_FORWARD * model.hidden_size + _LOGITS_FORWARD * logits
    ends_backward = _ENDS_BACKWARD * model.hidden_size + _LOGITS_BACKWARD * logits
    once, once_backward = _of_weights(training)
    return (
        (model.layers * forward + ends) * training.tokens + once,
        (model.layers * backward + ends_backward) * training.tokens + once_backward,
    )


def _of_weights(training: TrainingStep) -> tuple[float, float]:
    """Return the bytes that are moved for the weights, however many tokens there are."""
    model, full = training.model, training.method == "full"
    once = float(_READ * model.layers * model.stacked_parameters)
    once += 0.0 if full else _MERGE * model.layers * model.merged_parameters
    if full and training.sharding == "none":
        once += _AUTOCAST * model.layers * model.layer_parameters
    backward = once * (2 if training.activation_checkpointing else 1)
    if training.sharding != "none":  # a single rank copies its parameters, too
        gathered = _COPY_OUT * gathered_bytes(training)
        once += gathered
        backward += gathered if training.sharding == "full" else 0.0
    if training.sharding != "none" and training.shards > 1 and full:
        backward += (_REDUCE_COPY_IN + _REDUCE_ADD / training.shards) * model.parameters
    return once, backward


def _launches(training: TrainingStep) -> tuple[int, int]:
    """Return the kernels of a layer forward and backward, FSDP's hooks counted as kernels."""
    casts, adapted = training.sharding != "none", training.method != "full"
    layer, layer_backward = _layers_of(training)
    forward, backward = layer.launched(training), layer_backward.launched(training)
    if adapted:
        forward += ADAPTER_FORWARD[casts].launched(training)
        backward += ADAPTER_BACKWARD[casts].launched(training)
    if training.fused_lora:
        forward, backward = round(fused.LAUNCHED * forward), round(fused.LAUNCHED * backward)
    forward += sum(each.kernels for each in attention_forward(training))
    backward += sum(each.kernels for each in attention_backward(training))
    if training.method == "qlora":
        # bitsandbytes writes each matrix out by a kernel; with double quantization by one more for
        # its scales, and one for their offset.
        kernels = 3 if training.double_quant else 1
        written = kernels * sum(each.quantized for each in training.model.linears)
        forward, backward = forward + written, backward + written
    if training.activation_checkpointing:
        backward += forward
    if casts:
        forward, backward = forward + _HOOKS_FORWARD[adapted], backward + _HOOKS_BACKWARD[adapted]
    return forward, backward


def gathered_bytes(training: TrainingStep) -> float:
    """Return the bytes of an all-gather of the whole decoder, padding of stacked experts with it.

    A vision tower is in FSDP units of its own, which text never reaches.
    """
    padding = training.model.layers * training.model.padding(training.shards)
    decoder = training.model.decoder_parameters - training.missing_head
    whole = 2.0 * (decoder + padding + training.adapter_parameters)
    return whole - (
        NF4_SAVED_BYTES * training.model.quantized_parameters if training.method == "qlora" else 0.0
    )


def token_flops(training: TrainingStep) -> float:
    """Return the FLOPs of a token, forward and backward, in a sample of full length.

    What is recomputed does not count, nor do gradients of weights that are not trained.
    """
    # Of the adapters of experts a token meets as many as of the experts.
    met = training.model.active_layer_parameters / sum(
        each.parameters for each in training.model.linears
    )
    model = training.model
    head = model.embedding_parameters if training.objective.scores else 0
    forward = 2.0 * (model.active_parameters - head + met * training.adapter_parameters)
    return forward * (3 if training.method == "full" else 2) + 3.5 * attention_flops(training)


def attention_flops(training: TrainingStep) -> float:
    """Return the FLOPs of a token's attention to those before it: on average half of the sample."""
    model = training.model
    return 2.0 * model.layers * training.seq_len * model.num_heads * model.head_dim
