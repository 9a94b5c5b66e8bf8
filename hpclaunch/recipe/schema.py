"""What a recipe says, typed: model, data, method, sharding, training, checkpoints, watching.

Every field's docstring is what `hpclaunch recipes validate` means by it. Values here are what the
user wrote with defaults filled in; nothing in this package knows about clusters or torch.
"""

from typing import Annotated, Any, Literal

import msgspec

from hpclaunch.recipe.data_section import Data, DataSource
from hpclaunch.recipe.grpo_section import Grpo, GrpoServer
from hpclaunch.recipe.objectives import (
    DEFAULT_OBJECTIVE,
    OBJECTIVES,
    MethodKind,
    Objective,
    ObjectiveSpec,
)
from hpclaunch.recipe.reporting import Evaluate, Notify, Tracking
from hpclaunch.recipe.section import Count, Fraction, Name, PositiveInt, Section

__all__ = [
    "DEFAULT_OBJECTIVE", "Data", "DataSource", "Grpo", "GrpoServer", "MethodKind", "Objective",
]  # fmt: skip

Sharding = Literal["full", "hybrid", "grad", "none"]
Level = Literal["auto", "none", "mlp", "whole"]
"""Of activation checkpointing."""


class Model(Section, frozen=True, kw_only=True):
    """Which weights to start from."""

    name: Name
    """Hub id (`meta-llama/Meta-Llama-3-70B-Instruct`), a folder, or `builtin:tiny-llama`."""
    revision: str | None = None
    """Hub commit, tag or branch; none means the hub's default."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type the weights are held in; given always, else a model by name loads in float32."""
    attention: Literal[
        "auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "varlen_attn",
        "flex_attention",
    ] = "auto"  # fmt: skip
    """Attention kernel. auto: FlashAttention where installed and on a GPU, else PyTorch's own
    varlen_attn for packed samples, else sdpa."""
    gated: bool = False
    """The hub asks for a read token: checked before anything is submitted."""


class Lora(Section, frozen=True, kw_only=True):
    """LoRA's settings, by PEFT's own names."""

    r: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: Fraction = 0.0
    target_modules: str | list[str] = "all-linear"
    exclude_modules: str | list[str] | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: list[str] | None = None
    init_lora_weights: bool | str = True
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, int] = {}
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    target_parameters: list[str] | None = None
    lora_bias: bool = False
    ensure_weight_tying: bool = False


class Quantization(Section, frozen=True, kw_only=True):
    """How QLoRA holds the frozen weights.

    The storage type is not a choice: without bfloat16 storage FSDP2 silently keeps a full copy
    of the 4-bit weights on every rank.
    """

    type: Literal["nf4", "fp4"] = "nf4"
    double: bool = True
    """Quantize the block constants too: 1 GB instead of 4 GB of them for a 70B model."""
    skip_modules: list[str] | None = None
    keep: bool = True
    """Keep the 4-bit weights that the ranks of sharded loading make in the cache (half a byte a
    parameter), where every later start with the same model and settings reads them."""
    adapter_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the adapters and the optimizer's moments are held in. bfloat16, as TRL has it,
    takes half the memory of both, and rounds small updates away."""


class Method(Section, frozen=True, kw_only=True):
    """Which weights are trained (all, or an adapter over plain or 4-bit weights), by which loss."""

    kind: MethodKind = "lora"
    objective: Objective = DEFAULT_OBJECTIVE
    """Which loss is trained, each by TRL's own trainer: the table under `training` says what each
    of them learns."""
    lora: Lora = Lora()
    quantization: Quantization = Quantization()
    grpo: Grpo = Grpo()


class Fsdp(Section, frozen=True, kw_only=True):
    """How the model is spread over the ranks."""

    engine: Literal["fsdp", "deepspeed"] = "fsdp"
    """What shards. deepspeed: DeepSpeed's ZeRO (sharding full is ZeRO-3, grad is ZeRO-2), for a
    program of the user's own; for sft and pretrain with all weights or LoRA; for dpo and kto with
    LoRA."""
    version: Literal[1, 2] = 2
    """2 is current; 1 is deprecated in PyTorch and kept for its older files."""
    sharding: Sharding = "full"
    """full: weights, gradients, optimizer over all ranks. hybrid: inside a node, copies across
    nodes. grad: gradients and optimizer only. none: a full copy on every rank."""
    offload: bool = False
    """Keep the shards in host memory between uses: slow, for models that fit no other way."""
    loading: Literal["auto", "sharded", "whole"] = "auto"
    """How weights are read. sharded: each rank reads its own slices of the files. whole: every rank
    reads the model, which is then sharded. auto: sharded where it can be, else whole, with the
    reason in the log."""
    cpu_ram_efficient_loading: bool = True
    """The model is sharded before it holds weights; off, every rank shards a whole one."""
    state_dict: Literal["sharded", "full"] = "sharded"
    """How checkpoints are written. The final weights are always gathered whole."""
    context_parallel: PositiveInt = 1
    """Ranks that share each sequence: for sequences too long for one GPU. Their activations are
    divided by it; the model is sharded over all ranks as ever. Turns packing off, and pads rows to
    a multiple of twice it."""
    tensor_parallel: PositiveInt = 1
    """Ranks that share each matrix. More than 1 is refused at present, with the reason."""


class Performance(Section, frozen=True, kw_only=True):
    """What makes a step faster and changes nothing of what is learnt."""

    fused_lora: bool = True
    """Compute the matrices of a layer that share an input, their adapters, the norm before them and
    the MLP as one, and keep less for the backward pass. A layer that is not plain (dropout, DoRA,
    several adapters, trained biases) runs as PEFT has it."""
    activation_checkpointing: Level = "auto"
    """What the backward pass computes again to save memory. none: nothing; mlp: gate and up of
    every MLP (fused layers only); whole: every layer. auto: the fastest of them that fits with a
    margin, where the GPU type is known, else whole. `training.gradient_checkpointing`, where set,
    decides."""
    every_n_layers: PositiveInt = 1
    """With activation_checkpointing: whole, compute only every n-th layer again: less time, more
    memory."""
    fused_loss: bool = True
    """Compute the loss and its gradient in one pass over the vocabulary, where the output head is
    frozen."""
    compile: bool = False
    """Compile each layer with PyTorch's inductor (accelerate's regional compilation). Needs
    fused_lora: false; not for QLoRA."""
    liger: bool = False
    """Use Liger's Triton kernels for norms, rotary embeddings and MLPs. Needs the package
    liger-kernel, a GPU, and fused_lora: false for LoRA."""
    fp8: bool = False
    """Compute matrix products in FP8 by torchao: full fine-tunes on Hopper GPUs and later."""
    activation_offloading: bool = False
    """Keep what the backward pass needs in host memory meanwhile: less GPU memory, more time."""


class Checkpoints(Section, frozen=True, kw_only=True):
    """When training state is kept."""

    every_steps: Count = 50
    """Steps between checkpoints; 0 keeps none."""
    keep: PositiveInt = 2
    """How many of the newest to keep, here and where they are copied to."""
    best: Name | None = None
    """Keep the best checkpoint beside the newest. eval_loss: the one with the lowest evaluation
    loss, and write the final weights from it. An evaluation that is the lowest so far saves a
    checkpoint at its step, and the last step is evaluated. Needs data to validate on. TASK, one of
    `evaluate.tasks`, or TASK/METRIC (`hellaswag/acc_norm`; by default the task's first metric): the
    one with the best score. Once all evaluations have ended, a job takes it to a run of its own,
    RUN-best."""
    asynchronous: bool = False
    """Write a checkpoint while training goes on: for the time of it, every node's memory holds
    another copy of what is trained, and of its optimizer's state. Sharded checkpoints only."""
    sync_to: Name | None = None
    """Where whole checkpoints and the final weights are copied while training goes on: the address
    of a folder (`s3://bucket/me`, `gs://...`, `hf://...`, `file:///...`); the run's name is added.
    Credentials come from the environment or the storage's own files, never from here."""


class Monitoring(Section, frozen=True, kw_only=True):
    """How GPUs and hosts are watched."""

    interval: Annotated[float, msgspec.Meta(ge=0.05, le=300)] = 1.0
    """Seconds between two samples of a node. What one costs the node does not change with it."""


class Recipe(Section, frozen=True, kw_only=True):
    """A whole recipe. `training` holds any field of the objective's TRL config by its own name, and
    `global_batch`: the rows of an optimizer step over all ranks, from which batch and accumulation
    follow."""

    name: str
    model: Model
    data: Data
    description: str = ""
    method: Method = Method()
    fsdp: Fsdp = Fsdp()
    training: dict[str, Any] = {}
    performance: Performance = Performance()
    checkpoints: Checkpoints = Checkpoints()
    tracking: Tracking = Tracking()
    monitoring: Monitoring = Monitoring()
    notify: Notify = Notify()
    evaluate: Evaluate = Evaluate()
    follows_global_batch: list[
        Literal["per_device_train_batch_size", "gradient_accumulation_steps"]
    ] = []
    """In a run's own recipe: fields of `training` that hpclaunch set from `training.global_batch`,
    and sets anew on other resources."""

    @property
    def objective(self) -> Objective:
        """Which loss is trained: `method.objective`."""
        return self.method.objective

    @property
    def objective_spec(self) -> ObjectiveSpec:
        """What follows from the objective: its row of `OBJECTIVES`."""
        return OBJECTIVES[self.method.objective]
