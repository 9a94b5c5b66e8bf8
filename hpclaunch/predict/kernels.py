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

from dataclasses import dataclass

from hpclaunch.predict import fused
from hpclaunch.predict.memory import NF4_SAVED_BYTES
from hpclaunch.predict.training_step import TrainingStep


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class _Layer:
    """What a layer moves between its matrix products: bytes a token and value, and kernels.

    Counted by PyTorch's dispatch over tensors without values: tests/train/test_moved.py.
    """

    norm: int
    """Bytes, for each value that a norm takes in."""
    width: int
    """For each value between layers."""
    queries: int
    keys: int
    mlp: int
    """For each value inside the MLP."""
    kernels: int
    """With no norm."""
    norm_kernels: int

    def moved(self, training: TrainingStep) -> float:
        """Return the bytes a token."""
        model = training.model
        return float(
            self.norm * model.normed_values
            + self.width * model.hidden_size
            + self.queries * model.num_heads * model.head_dim
            + self.keys * model.num_kv_heads * model.head_dim
            + self.mlp * model.intermediate_size
        )

    def launched(self, training: TrainingStep) -> int:
        """Return the number of kernels."""
        return self.kernels + self.norm_kernels * training.model.norms


@dataclass(frozen=True)
class _Adapter:
    """The same of a matrix's adapter: bytes a token and value that comes in or goes out."""

    inputs: int
    outputs: int
    kernels: int

    def moved(self, training: TrainingStep) -> float:
        """Return the bytes a token, in a layer."""
        matrices = training.adapted_matrices
        return float(self.inputs * matrices.in_features + self.outputs * matrices.out_features)

    def launched(self, training: TrainingStep) -> int:
        """Return the number of kernels of a layer."""
        return self.kernels * training.adapted_matrices.number


# Weights that are trained on one GPU are cast by autocast, and norms give 32 bits then.
_FORWARD, _FORWARD_CAST = _Layer(36, 12, 24, 24, 10, 27, 8), _Layer(48, 10, 48, 36, 10, 37, 8)
_BACKWARD, _BACKWARD_CAST = _Layer(92, 30, 36, 40, 18, 45, 15), _Layer(116, 54, 70, 62, 18, 60, 15)
_BACKWARD_FROZEN = _Layer(84, 30, 36, 40, 18, 36, 14)
"""Backward without gradients of the layer's own weights."""
_NORM_CASTS = 12
"""Bytes, for each value that a norm takes in, of its two casts: to 32 bits and back."""
_PRODUCTS = 2
"""Products of an adapter forward."""
_RECOMPUTED_LESS = 16
"""Bytes a token and hidden value that a recomputed layer need not move: its last sum."""

# An adapter's two products are so narrow that their work is to read and write their ends: two bytes
# each forward, twice that backward. FSDP casts the adapter; autocast casts what goes through it.
_ADAPTER_FORWARD = {True: _Adapter(2, 12, 4), False: _Adapter(14, 12, 8)}
_ADAPTER_BACKWARD = {True: _Adapter(10, 8, 6), False: _Adapter(22, 8, 10)}
"""By whether FSDP casts."""

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
    forward, backward = _flops(training)
    moved_forward, moved_backward = _moved(training)
    launches_forward, launches_backward = _launches(training)
    layers, narrow = training.model.layers, 2.0 * training.adapter_parameters * training.tokens
    casts, products = _casts(training), 0.0
    if training.method != "full":
        products = float(_PRODUCTS * layers * training.adapted_matrices.number)
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
    layer, _ = _layers_of(training)
    token = float(_NORM_CASTS * training.model.normed_values)
    if layer is _FORWARD_CAST:
        token += _FORWARD_CAST.moved(training) - _FORWARD.moved(training)
    if training.method != "full" and training.sharding == "none":
        token += _ADAPTER_FORWARD[False].moved(training) - _ADAPTER_FORWARD[True].moved(training)
    return training.model.layers * token * training.tokens


def _layers_of(training: TrainingStep) -> tuple[_Layer, _Layer]:
    if training.method != "full":
        return _FORWARD, _BACKWARD_FROZEN
    return (_FORWARD_CAST, _BACKWARD_CAST) if training.sharding == "none" else (_FORWARD, _BACKWARD)


def _flops(training: TrainingStep) -> tuple[float, float]:
    """Return the FLOPs forward and backward, but for adapters'."""
    model = training.model
    head = 2.0 * model.embedding_parameters * training.tokens
    layers = 2.0 * model.layers * model.active_layer_parameters * training.tokens
    attention = attention_flops(training) * training.tokens
    # The weights' own gradients are a third of the work; without them the backward pass has half as
    # much to do. Attention's backward pass recomputes its scores: two and a half forward ones. The
    # fused loss recomputes its logits whether layers are recomputed or not.
    backward = (head + layers) * (2 if training.method == "full" else 1) + 2.5 * attention
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
        forward += _ADAPTER_FORWARD[casts].moved(training)
        backward += _ADAPTER_BACKWARD[casts].moved(training)
    if training.fused_lora:
        forward, backward = fused.MOVED * forward, fused.MOVED * backward
    if training.activation_checkpointing:
        backward += forward - _RECOMPUTED_LESS * model.hidden_size
    elif training.recomputed_mlps:
        backward += fused.RECOMPUTED_MOVED * forward
    ends = _ENDS_FORWARD * model.hidden_size + _LOGITS_FORWARD * model.vocab_size
    ends_backward = _ENDS_BACKWARD * model.hidden_size + _LOGITS_BACKWARD * model.vocab_size
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
        forward += _ADAPTER_FORWARD[casts].launched(training)
        backward += _ADAPTER_BACKWARD[casts].launched(training)
    if training.fused_lora:
        forward, backward = round(fused.LAUNCHED * forward), round(fused.LAUNCHED * backward)
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
    whole = 2.0 * (training.model.decoder_parameters + padding + training.adapter_parameters)
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
    forward = 2.0 * (training.model.active_parameters + met * training.adapter_parameters)
    return forward * (3 if training.method == "full" else 2) + 3.5 * attention_flops(training)


def attention_flops(training: TrainingStep) -> float:
    """Return the FLOPs of a token's attention to those before it: on average half of the sample."""
    model = training.model
    return 2.0 * model.layers * training.seq_len * model.num_heads * model.head_dim
