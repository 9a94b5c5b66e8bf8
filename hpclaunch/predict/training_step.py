"""What one GPU does in a training step: the input of every prediction."""

from __future__ import annotations

import math
from typing import Literal

from hpclaunch.frozen import frozen
from hpclaunch.predict.architecture import AdaptedMatrices, Architecture
from hpclaunch.predict.objective import PLAIN, ObjectiveWork
from hpclaunch.predict.optimizer import ADAMW, Optimizer
from hpclaunch.recipe.attention import Mask

BF16_BYTES, FP32_BYTES = 2, 4
"""Bytes of a parameter: computed with in bf16; trained ones, and gradients, are held in fp32."""


@frozen
class TrainingStep:
    """What one GPU does in a training step: model, method, sharding, batch."""

    model: Architecture
    method: Literal["full", "lora", "qlora"]
    adapter_parameters: int
    """Parameters in the adapter, 0 for a full fine-tune."""
    sharding: Literal["full", "grad", "none"]
    """FULL_SHARD, SHARD_GRAD_OP or DDP, within the ranks that share one copy."""
    shards: int
    """Ranks that share one copy."""
    micro_batch_size: int
    """Samples of a micro-batch on one GPU."""
    seq_len: int
    """Tokens of each sequence, padding with them."""
    activation_checkpointing: bool
    double_quant: bool = True
    """Double quantization of 4-bit weights."""
    offload: bool = False
    """Parameters, gradients and optimizer lie in the host's memory."""
    gradient_accumulation_steps: int = 1
    """Micro-batches of a step."""
    optimizer: Optimizer = ADAMW
    """What the optimizer takes for each trained parameter."""
    ranks_per_node: int = 1
    """Ranks that share the memory of a node."""
    converted: bool = False
    """The checkpoint's type is not the one that is loaded: every rank converts all weights."""
    sharded_loading: bool = False
    """Each rank reads its own shard of the weights; otherwise the whole model, to be sharded."""
    deepspeed: bool = False
    """DeepSpeed's ZeRO shards, not FSDP: stage 3 or 2, by `sharding`."""
    fused_lora: bool = False
    """Layers run fused with their adapters."""
    fused_loss: bool = False
    """The loss's gradient is made in the forward pass."""
    every_n_layers: int = 1
    """Of checkpointed layers: only every n-th is computed again."""
    recomputed_mlps: bool = False
    """Every MLP computes gate and up again in the backward pass; of fused layers alone."""
    context_parallel: int = 1
    """Ranks that share each sequence."""
    mask: Mask = "never"
    """When attention has a mask of all pairs of tokens, which every layer turns into numbers."""
    eager_attention: bool = False
    """Attention writes its scores out, one operation after the other; otherwise it is one kernel
    that keeps none."""
    objective: ObjectiveWork = PLAIN
    """What the loss takes beside a forward and a backward pass."""
    target_matrices: AdaptedMatrices | None = None
    """Matrices of a layer with adapters; None: all that PEFT's `all-linear` takes."""

    @property
    def adapted_matrices(self) -> AdaptedMatrices:
        """Return the matrices of a layer with adapters: those named, else all linear ones."""
        return self.model.all_linear if self.target_matrices is None else self.target_matrices

    @property
    def masked(self) -> bool:
        """Whether attention has a mask: then grouped keys and values are repeated, too."""
        several = self.micro_batch_size * self.objective.sequences > 1
        return self.mask == "always" or (self.mask == "padded" and several)

    @property
    def recomputed_share(self) -> float:
        """Share of the layers that are computed again whole."""
        if not self.activation_checkpointing:
            return 0.0
        return math.ceil(self.model.layers / self.every_n_layers) / self.model.layers

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch on one GPU."""
        return self.micro_batch_size * self.objective.sequences * self.part_len

    @property
    def part_len(self) -> int:
        """Tokens of each sequence on one GPU."""
        return self.seq_len // self.context_parallel

    @property
    def missing_head(self) -> int:
        """Parameters of the output head that a model for scores does not have."""
        tied = self.model.tie_word_embeddings
        return self.model.embedding_parameters if self.objective.scores and not tied else 0

    @property
    def trained_parameters(self) -> int:
        """Parameters that are trained, over all ranks."""
        whole = self.model.decoder_parameters - self.missing_head
        return whole if self.method == "full" else self.adapter_parameters

    @property
    def trained_bytes(self) -> float:
        """Bytes of the trained parameters with their optimizer's state, over all ranks."""
        a_parameter = self.optimizer.parameter_bytes + self.optimizer.state_bytes
        return a_parameter * self.trained_parameters
