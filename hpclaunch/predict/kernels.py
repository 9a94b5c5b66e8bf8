"""What a GPU does for a micro-batch: operations of products, bytes moved, kernels launched.

Most of a step is matrix products. Between them PyTorch runs norms, rotations, activations,
residuals and adapters one kernel at a time, each of which reads and writes whole tensors: of a LoRA
a sixth of the time at a width of 8,192 and two fifths at 2,048. And each kernel is launched by a
CPU, which short micro-batches of small models wait for.

Bytes and kernels were counted over tensors without values, layer by layer, of Transformers' Llama
and Qwen3 under PEFT and accelerate; tests/train/test_moved.py counts again. Mixtures of experts
are taken for dense models of as many active weights whose experts are read once a pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.predict.memory import TrainingStep


@dataclass(frozen=True)
class Pass:
    """What a GPU does once for a micro-batch, forth or back."""

    flops: float
    """Of matrix products and attention, but for adapters'."""
    narrow_flops: float
    """Of adapters' products, which move more than they compute: their time is that of `moved`."""
    moved: float
    """Bytes that all other kernels read and write."""
    launches: float
    """Kernels of the layers."""


@dataclass(frozen=True)
class _Layer:
    """What a layer moves between its products: bytes a token and value, and kernels."""

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

    def moved(self, load: TrainingStep) -> float:
        """Bytes a token."""
        model = load.model
        return float(
            self.norm * model.normed
            + self.width * model.width
            + self.queries * model.heads * model.head_width
            + self.keys * model.kv_heads * model.head_width
            + self.mlp * model.mlp_width
        )

    def launched(self, load: TrainingStep) -> int:
        """Kernels in all."""
        return self.kernels + self.norm_kernels * load.model.norms


@dataclass(frozen=True)
class _Adapter:
    """The same of a matrix's adapter: bytes a token and value that comes in or goes out."""

    inputs: int
    outputs: int
    kernels: int

    def moved(self, load: TrainingStep) -> float:
        """Bytes a token, in a layer."""
        _, inputs, outputs = load.adapters
        return float(self.inputs * inputs + self.outputs * outputs)

    def launched(self, load: TrainingStep) -> int:
        """Kernels of a layer."""
        return self.kernels * load.adapters[0]


# Weights that are trained on one GPU are cast by autocast, and norms give 32 bits then.
_FORTH, _FORTH_CAST = _Layer(36, 12, 24, 24, 10, 27, 8), _Layer(48, 10, 48, 36, 10, 37, 8)
_BACK, _BACK_CAST = _Layer(92, 30, 36, 40, 18, 45, 15), _Layer(116, 54, 70, 62, 18, 60, 15)
_BACK_FROZEN = _Layer(84, 30, 36, 40, 18, 36, 14)
"""Going back without gradients of the layer's own weights."""
_AGAIN = 16
"""Bytes a token and value between layers that one computed again need not move: its last sum."""

# An adapter's two products are so narrow that their work is to read and write their ends: two bytes
# each forth, and twice that back. FSDP casts the adapter; autocast casts what goes through it.
_ADAPTER_FORTH = {True: _Adapter(2, 12, 4), False: _Adapter(14, 12, 8)}
_ADAPTER_BACK = {True: _Adapter(10, 8, 6), False: _Adapter(22, 8, 10)}
"""By whether FSDP casts."""

_ENDS_FORTH, _ENDS_BACK = 45, 98
"""Bytes a token and value between layers of embedding, last norm and loss."""
_LOGITS_FORTH, _LOGITS_BACK = 4, 6
"""Bytes a token and word of the vocabulary that the fused loss moves: written by a product and
read, and once more going back, where the gradient takes their place. An estimate."""
_CAST = 6
"""Bytes a weight that autocast moves to have a copy in 16 bits, or a gradient in 32."""
_PUT_TOGETHER = 2
"""Times that FSDP moves what it has gathered, to lay it out as the weights."""
_SHARED_OUT, _ADDED_UP = 4, 6
"""Bytes a weight that FSDP moves to lay out gradients for the others, and of its own share."""
_MERGE, _READ = 6, 2
"""Bytes a weight of an expert that PEFT moves to add an adapter to it, and that a product reads.
The first is an estimate."""

_HOOKS_FORTH, _HOOKS_BACK = {True: 65, False: 30}, {True: 110, False: 75}
"""CPU time that FSDP's hooks of a layer take, in launches, with and without adapters: measured on a
CPU, with collectives that do nothing."""


EXPERTS = "kernels and bytes between an expert's products as those of a dense model's"
"""What the time of a mixture of experts rests on, in words."""


def passes(load: TrainingStep) -> tuple[Pass, Pass]:
    """Return what is done forth and back, what is computed again with the latter."""
    forth, back = _flops(load)
    moved_forth, moved_back = _moved(load)
    launches_forth, launches_back = _launches(load)
    layers, narrow = load.model.layers, 2.0 * load.adapter * load.tokens
    return (
        Pass(forth, narrow, moved_forth, layers * launches_forth),
        Pass(back, narrow * (2 if load.checkpointing else 1), moved_back, layers * launches_back),
    )


def _layers_of(load: TrainingStep) -> tuple[_Layer, _Layer]:
    if load.method != "full":
        return _FORTH, _BACK_FROZEN
    return (_FORTH_CAST, _BACK_CAST) if load.sharding == "none" else (_FORTH, _BACK)


def _flops(load: TrainingStep) -> tuple[float, float]:
    """Return the operations forth and back, but for adapters'."""
    model = load.model
    head = 2.0 * model.embedding * load.tokens
    layers = 2.0 * model.layers * model.active * load.tokens
    attention = attention_flops(load) * load.tokens
    # The weights' own gradients are a third of the work; without them there is half as much to do
    # going back. Attention's backward pass recomputes its scores: two and a half forward ones. The
    # fused loss computes its logits again whether layers are or not.
    back = (head + layers) * (2 if load.method == "full" else 1) + 2.5 * attention + head
    if load.checkpointing:
        back += layers + attention
    return head + layers + attention, back


def _moved(load: TrainingStep) -> tuple[float, float]:
    """Return the bytes forth and back."""
    model, casts = load.model, load.sharding != "none"
    layer, layer_back = _layers_of(load)
    forth, back = layer.moved(load), layer_back.moved(load)
    if load.method != "full":
        forth += _ADAPTER_FORTH[casts].moved(load)
        back += _ADAPTER_BACK[casts].moved(load)
    if load.checkpointing:
        back += forth - _AGAIN * model.width
    ends = _ENDS_FORTH * model.width + _LOGITS_FORTH * model.vocabulary
    ends_back = _ENDS_BACK * model.width + _LOGITS_BACK * model.vocabulary
    once, once_back = _of_weights(load)
    return (
        (model.layers * forth + ends) * load.tokens + once,
        (model.layers * back + ends_back) * load.tokens + once_back,
    )


def _of_weights(load: TrainingStep) -> tuple[float, float]:
    """Bytes forth and back that are moved for the weights' sake, however many tokens there are."""
    model, full = load.model, load.method == "full"
    once = float(_READ * model.layers * model.stacked)
    once += 0.0 if full else _MERGE * model.layers * model.merged
    if full and load.sharding == "none":
        once += _CAST * model.layers * model.layer_weights
    back = once * (2 if load.checkpointing else 1)
    if load.sharding != "none" and load.shards > 1:
        gathered = _PUT_TOGETHER * gathered_bytes(load)
        once += gathered
        back += gathered if load.sharding == "full" else 0.0
        back += (_SHARED_OUT + _ADDED_UP / load.shards) * model.weights if full else 0.0
    return once, back


def _launches(load: TrainingStep) -> tuple[int, int]:
    """Return the kernels of a layer forth and back, and what else a CPU does in their time."""
    casts, adapted = load.sharding != "none", load.method != "full"
    layer, layer_back = _layers_of(load)
    forth, back = layer.launched(load), layer_back.launched(load)
    if adapted:
        forth += _ADAPTER_FORTH[casts].launched(load)
        back += _ADAPTER_BACK[casts].launched(load)
    if load.method == "qlora":
        # bitsandbytes writes each matrix out by a kernel; with double quantization by one more for
        # its scales, and one for their offset.
        written = (3 if load.double else 1) * sum(each.quantized for each in load.model.linears)
        forth, back = forth + written, back + written
    if load.checkpointing:
        back += forth
    if casts and load.shards > 1:
        forth, back = forth + _HOOKS_FORTH[adapted], back + _HOOKS_BACK[adapted]
    return forth, back


def gathered_bytes(load: TrainingStep) -> float:
    """Bytes of the whole model as it goes over the links, padding of stacked experts with it."""
    padding = load.model.layers * load.model.padding(load.shards)
    whole = 2.0 * (load.model.weights + padding + load.adapter)
    return whole - (1.5 * load.model.quantized if load.method == "qlora" else 0.0)


def token_flops(load: TrainingStep) -> float:
    """FLOPs that the model's own work takes for a token of a sample of full length, forth and back.

    What is recomputed does not count, nor do gradients of weights that are not trained.
    """
    # Of the adapters of experts a token meets as many as of the experts.
    met = load.model.active / sum(each.weights for each in load.model.linears)
    forward = 2.0 * (load.model.active_weights + met * load.adapter)
    return forward * (3 if load.method == "full" else 2) + 3.5 * attention_flops(load)


def attention_flops(load: TrainingStep) -> float:
    """FLOPs of a token's attention to those before it, on average half of the sample's."""
    model = load.model
    return 2.0 * model.layers * load.length * model.heads * model.head_width
