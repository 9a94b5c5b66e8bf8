"""Memory and time of a model that is only read: while it writes, is evaluated or is quantized.

Within a tenth of the tensors that such stages held on CPUs: tests/train/test_inference_memory.py.
"""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.predict.architecture import AdaptedMatrices, Architecture
from hpclaunch.predict.kernels import passes
from hpclaunch.predict.memory import ALLOCATOR, BLOCK, CONTEXT, GIB
from hpclaunch.predict.step_time import MEMORY_SHARE, Hardware, pass_seconds
from hpclaunch.predict.training_step import BF16_BYTES, FP32_BYTES, TrainingStep

PROCESS = 1.0 * GIB
"""Bytes of a stage's process beside the model: Python, PyTorch, Transformers; an estimate."""

MEASURED_TOKENS = 512
"""Tokens of a row at most that `quantize` measures and calibrates with."""

# Tensors of a token that a layer's forward pass holds at once, without gradients, as traced op by
# op: the residual stream in four places, and of a gated MLP the activation of gate, up and their
# product. With an adapter, which computes in fp32, the fullest moment is up's: the activation of
# gate, the frozen result, the adapter's result and the same scaled.
_FFN, _HIDDEN = 3, 4
_ADAPTED_FFN, _ADAPTER_FFN = 2, 2


@frozen
class Inference:
    """A model as a stage loads it."""

    model: Architecture
    weight_bytes: int
    """Bytes of all its weights, without an adapter."""
    value_bytes: int = BF16_BYTES
    """Bytes of a value that it computes with."""
    adapter_parameters: int = 0
    """Of an adapter put over it, which is held in fp32; 0: none."""


@frozen
class InferenceMemory:
    """Bytes on one device at the peak."""

    weights: int
    """Of the model and its adapter."""
    cache: int
    """Keys and values of all tokens so far."""
    activations: int
    """Of the layer at work, and the logits."""
    allocator: int = 0
    """Reserved by the caching allocator beside them; 0 on CPUs."""
    context: int = 0
    """Of CUDA; 0 on CPUs."""

    @property
    def tensors(self) -> int:
        """Bytes of tensors."""
        return self.weights + self.cache + self.activations

    @property
    def total(self) -> int:
        """Bytes that the device shows as used."""
        return self.tensors + self.allocator + self.context


def on_gpu(memory: InferenceMemory, gpus: int = 1) -> InferenceMemory:
    """Return the memory of the fullest of `gpus` GPUs that share the layers of one copy."""
    tensors = memory.weights // gpus + memory.cache // gpus + memory.activations
    return InferenceMemory(
        memory.weights // gpus,
        memory.cache // gpus,
        memory.activations,
        int(ALLOCATOR * tensors),
        int(CONTEXT),
    )


def writing_memory(used: Inference, batch: int, prompt: int, new: int) -> InferenceMemory:
    """Return the memory of writing `new` tokens after each of `batch` prompts of `prompt` tokens.

    The last token's logits alone are computed, in the model's type, and once more in fp32.
    """
    weights = _weights(used)
    logits = batch * used.model.vocab_size * (used.value_bytes + FP32_BYTES)
    mask = batch * prompt**2  # a byte a pair, as prompts of a batch are padded
    begin = InferenceMemory(
        weights, _cache(used, batch * prompt), _layer(used, batch * prompt) + mask + logits
    )
    end = InferenceMemory(
        weights, _cache(used, batch * (prompt + new)), _layer(used, batch) + logits
    )
    return max(begin, end, key=lambda each: each.tensors)


def scoring_memory(used: Inference, batch: int, tokens: int) -> InferenceMemory:
    """Return the memory of scoring `batch` requests of `tokens` tokens at once.

    lm-evaluation-harness takes the logits of every token, and beside them their log-softmax.
    """
    logits = 2 * used.value_bytes * used.model.vocab_size * batch * tokens
    hidden = used.value_bytes * used.model.hidden_size * batch * tokens
    return InferenceMemory(
        _weights(used),
        _cache(used, batch * tokens),
        max(_layer(used, batch * tokens), hidden + logits),
    )


def calibration_bytes(model: Architecture, tokens: int) -> int:
    """Return the bytes on a device while GPTQ quantizes one layer, `tokens` of a row at once.

    The layer in 16 bits, and the Hessian of each matrix's inputs, its inverse and a copy of the
    weights in fp32.
    """
    hessians = sum(each.in_features**2 for each in model.linears)
    largest = max(each.in_features**2 for each in model.linears)
    widest = max(each.in_features * each.out_features for each in model.linears)
    layer = BF16_BYTES * model.layer_parameters
    values = BF16_BYTES * tokens * (_FFN * model.intermediate_size + _HIDDEN * model.hidden_size)
    return int(layer + FP32_BYTES * (hessians + 2 * largest + 2 * widest) + values)


def nf4_bytes(model: Architecture) -> int:
    """Return the bytes of a model in nf4 with double quantization, its last matrix in 16 bits."""
    blocks = model.quantized_parameters / BLOCK
    rest = BF16_BYTES * (model.parameters - model.quantized_parameters)
    largest = max(each.in_features * each.out_features for each in model.linears)
    return int(model.quantized_parameters / 2 + 1.02 * blocks + rest + BF16_BYTES * largest)


def largest_tensor(model: Architecture) -> int:
    """Return the parameters of the largest tensor: an embedding, or a layer's stacked experts."""
    matrices = (each.in_features * each.out_features * each.copies for each in model.linears)
    return max(model.embedding_parameters, *matrices)


def writing_seconds(used: Inference, batch: int, prompt: int, new: int, machine: Hardware) -> float:
    """Return the seconds of writing `new` tokens after each of `batch` prompts.

    Each token reads all weights and the cache once; several GPUs that share the layers work one
    after the other.
    """
    begin = _forward_seconds(used, batch, prompt, machine)
    rate = MEMORY_SHARE * machine.memory_gb_s * 1e9
    reading = (_weights(used) + _cache(used, batch * (prompt + new // 2))) / rate
    token = max(reading, _forward_seconds(used, batch, 1, machine))
    return begin + new * token


def scored_tokens_per_second(used: Inference, batch: int, tokens: int, machine: Hardware) -> float:
    """Return the tokens of requests that one GPU scores in a second."""
    return batch * tokens / _forward_seconds(used, batch, tokens, machine)


def _forward_seconds(used: Inference, batch: int, tokens: int, machine: Hardware) -> float:
    """Return the seconds of one forward pass on one GPU."""
    step = _step(used, batch, tokens)
    return pass_seconds(passes(step)[0], step, machine, 0.0)[0]


def _step(used: Inference, batch: int, tokens: int) -> TrainingStep:
    """Return a micro-batch whose forward pass is this one's."""
    return TrainingStep(
        model=used.model,
        method="lora",
        adapter_parameters=used.adapter_parameters,
        sharding="none",
        shards=1,
        micro_batch_size=batch,
        seq_len=tokens,
        activation_checkpointing=False,
        target_matrices=None if used.adapter_parameters else AdaptedMatrices(0, 0, 0),
    )


def _weights(used: Inference) -> int:
    return used.weight_bytes + FP32_BYTES * used.adapter_parameters


def _cache(used: Inference, tokens: int) -> int:
    model = used.model
    return 2 * used.value_bytes * model.layers * model.num_kv_heads * model.head_dim * tokens


def _layer(used: Inference, tokens: int) -> int:
    model = used.model
    if not used.adapter_parameters:
        values = _FFN * model.intermediate_size + _HIDDEN * model.hidden_size
        return used.value_bytes * values * tokens
    frozen_values = _ADAPTED_FFN * model.intermediate_size + _HIDDEN * model.hidden_size
    cast = 0 if used.value_bytes == FP32_BYTES else model.hidden_size
    adapter_values = _ADAPTER_FFN * model.intermediate_size + cast
    return (used.value_bytes * frozen_values + FP32_BYTES * adapter_values) * tokens
