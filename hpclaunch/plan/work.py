"""What a GPU does for a micro-batch: operations of products, bytes moved, kernels launched.

Most of a step is matrix products. Between them PyTorch runs norms, rotations, activations,
residuals and adapters one kernel at a time, each of which reads and writes whole tensors: at a
width of 8,192 a sixth of the time, at 2,048 two fifths. And each kernel is launched by a CPU, which
short micro-batches of small models wait for.

Bytes and kernels were counted over tensors without values, layer by layer, of Transformers' Llama
under PEFT and accelerate; tests/train/test_moved.py counts again.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.plan.memory import Load


@dataclass(frozen=True)
class Pass:
    """What a GPU does once for a micro-batch, forth or back."""

    flops: float
    """Of matrix products and attention."""
    moved: float
    """Bytes that all other kernels read and write."""
    launches: float
    """Kernels of the layers."""


@dataclass(frozen=True)
class _Between:
    """Bytes between a layer's products, per token, by the width of what is moved; and kernels.

    `width` of the model; `queries`, `keys`: heads times their width; `mlp`: of what is inside it.
    """

    width: int
    queries: int
    keys: int
    mlp: int
    kernels: int

    def moved(self, load: Load) -> float:
        model = load.model
        queries, keys = (heads * model.head_width for heads in (model.heads, model.kv_heads))
        return float(
            self.width * model.width
            + self.queries * queries
            + self.keys * keys
            + self.mlp * model.mlp_width
        )


# By whether there is an adapter, and whether FSDP casts (autocast works where nothing is sharded):
# forth, and back without what is computed again.
_FORTH = {
    (True, False): _Between(164, 46, 44, 42, 95),
    (True, True): _Between(104, 34, 44, 30, 67),
    (False, False): _Between(106, 48, 36, 10, 51),
    (False, True): _Between(84, 24, 24, 10, 41),
}
_BACK = {
    (True, False): _Between(296, 58, 48, 44, 137),
    (True, True): _Between(236, 46, 48, 32, 110),
    (False, False): _Between(286, 70, 62, 18, 92),
    (False, True): _Between(214, 36, 40, 18, 77),
}
_AGAIN = -16
"""Bytes a token and the model's width less when a layer is computed again: its last sum."""
_NARROW = _Between(14, 4, 4, 6, 0)
"""Adapters' own products, forth: too narrow to be more than reading and writing their ends. Going
back there are twice as many."""
_ENDS_FORTH, _ENDS_BACK = 45, 98
"""Bytes a token and the model's width of embedding, last norm and loss."""
_LOGITS_FORTH, _LOGITS_BACK = 4, 6
"""Bytes a token and word of the vocabulary that the fused loss moves: written by a product and
read, and once more going back, where the gradient takes their place. An estimate."""
_CAST = 6
"""Bytes a weight that autocast moves to have a copy in 16 bits, or a gradient in 32."""
_MERGE = 6
"""Bytes a weight of an expert with an adapter that PEFT moves to add the two. An estimate."""


def passes(load: Load) -> tuple[Pass, Pass]:
    """Give what is done forth and back, what is computed again with the latter."""
    forward, attention = forward_flops(load) * load.tokens, attention_flops(load) * load.tokens
    # The weights' own gradients are a third of the work; without them there is half as much to do
    # going back. Attention's backward pass recomputes its scores: two and a half forward ones.
    back = forward * (2 if load.method == "full" else 1) + 2.5 * attention
    model, kind = load.model, (load.method != "full", load.sharding != "none")
    forth, backward, written = _FORTH[kind], _BACK[kind], _written_out(load)
    narrow = _NARROW.moved(load) if kind[0] else 0.0
    layer, once = forth.moved(load) + narrow, _of_weights(load)
    layer_back, kernels_back = backward.moved(load) + 2 * narrow, backward.kernels + written
    again = load.checkpointing
    if again:
        back += forward + attention
        layer_back += layer + _AGAIN * model.width
        kernels_back += forth.kernels + written
    ends = _ENDS_FORTH * model.width + _LOGITS_FORTH * model.vocabulary
    ends_back = _ENDS_BACK * model.width + _LOGITS_BACK * model.vocabulary
    return (
        Pass(
            forward + attention,
            (model.layers * layer + ends) * load.tokens + once,
            model.layers * (forth.kernels + written),
        ),
        Pass(
            back,
            (model.layers * layer_back + ends_back) * load.tokens + once * (2 if again else 1),
            model.layers * kernels_back,
        ),
    )


def _written_out(load: Load) -> int:
    """Kernels that write a layer's 4-bit weights out, as bitsandbytes' source has them.

    One a matrix; with double quantization one more for its scales, and one for their offset.
    """
    if load.method != "qlora":
        return 0
    return (3 if load.double else 1) * sum(each.quantized for each in load.model.linears)


def _of_weights(load: Load) -> float:
    """Bytes that are moved once a pass for the weights' sake, however many tokens there are."""
    if load.method == "full":
        return _CAST * load.model.weights if load.sharding == "none" else 0.0
    return float(_MERGE * load.model.layers * load.model.merged)


def token_flops(load: Load) -> float:
    """FLOPs that the model's own work takes for a token of a sample of full length, forth and back.

    What is recomputed does not count, nor do gradients of weights that are not trained.
    """
    forward, attention = forward_flops(load), attention_flops(load)
    return forward * (3 if load.method == "full" else 2) + 3.5 * attention


def forward_flops(load: Load) -> float:
    """FLOPs of a token's way through the matrices."""
    return 2.0 * (load.model.active_weights + load.adapter)


def attention_flops(load: Load) -> float:
    """FLOPs of a token's attention to those before it, on average half of the sample's."""
    model = load.model
    return 2.0 * model.layers * load.length * model.heads * model.head_width
