"""Published fine-tunes that the plan is held against: of 70B models, and on one GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpclaunch.predict.families import architecture
from hpclaunch.predict.step_time import Hardware, reached
from hpclaunch.predict.training_step import TrainingStep
from tests.predict.shapes import SHAPES

MODEL = architecture(SHAPES["70b"])
A100 = Hardware(1, 8, 312, 2039, reached(300), None, multiprocessors=108)


def lora(shards: int, samples: int = 1, length: int = 4096, rank: int = 16) -> TrainingStep:
    """Return a LoRA of the 70B, fully sharded."""
    return TrainingStep(
        MODEL, "lora", MODEL.adapter_parameters(rank), "full", shards, samples, length, True
    )


def full(shards: int) -> TrainingStep:
    """Return a full fine-tune of the 70B, fully sharded."""
    return TrainingStep(MODEL, "full", 0, "full", shards, 1, 4096, True)


@dataclass(frozen=True)
class Published:
    """A run and what was published of it."""

    name: str
    load: TrainingStep
    machine: Hardware
    tokens_per_gpu: float | None = None
    """Tokens a second and GPU."""
    step_seconds: float | None = None
    within: float = 0.1


# Micro-batches that are not published are taken as 4,096 tokens.
RUNS = (
    Published("torchtune, LoRA on 8 A100", lora(8), A100, 437),
    Published(
        "fsdp_qlora, QLoRA on 4 A100-40",
        replace(lora(4, 8, 512, 64), method="qlora"),
        replace(A100, gpus_per_node=4),
        414,
    ),
    Published(
        "fsdp_qlora, QLoRA on 2 RTX 4090, offloaded",
        replace(lora(2, 8, 512, 64), method="qlora", offload=True),
        Hardware(1, 2, 165, 1008, reached(32), None, multiprocessors=128),
        238,
        within=0.15,  # what is assumed of the host is rough
    ),
    Published("full on 64 A100", full(64), replace(A100, nodes=8, network_gb_s=reached(100)), 331),
    Published(
        "full on 128 H100",
        full(128),
        Hardware(16, 8, 989, 3350, reached(450), reached(400), multiprocessors=132),
        1058,
    ),
    Published(
        "LoRA by hand on 4 x 4 A100-40, over sockets",
        replace(lora(16, length=512), gradient_accumulation_steps=8),
        replace(A100, nodes=4, gpus_per_node=4, network_gb_s=reached(1.25)),
        step_seconds=3000,
        within=0.25,  # how long its samples were is not known
    ),
)


QWEN = {
    "1.8B": (2048, 24, 16, 5504, 151936),
    "7B": (4096, 32, 32, 11008, 151936),
    "14B": (5120, 40, 40, 13696, 152064),
}
"""Width, layers, heads, width of the MLP, vocabulary of the first Qwen; layers as Qwen2's are."""
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
ONE_GPU = {
    "1.8B": (1.0, 1.0, 1.1, 1.7, 3.3, 6.8),
    "7B": (1.2, 1.5, 2.8, 5.2, 10.1, 21.3),
    "14B": (1.6, 2.4, 4.4, 8.4, 17.0, 36.0),
}
"""Seconds of a step, by samples' tokens, as QwenLM/Qwen's README has them: LoRA (rank 64 on all
linear layers) with PEFT and Transformers' Trainer on one A100-SXM4-80GB, FlashAttention 2, torch
2.0, eight micro-batches of one padded sample. All were fitted to,
the shortest of 1.8B for `LAUNCH_S`."""


def qwen(size: str, length: int) -> TrainingStep:
    """Return one of those runs."""
    width, layers, heads, inner, vocabulary = QWEN[size]
    config = {
        "model_type": "qwen2", "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "intermediate_size": inner,
        "vocab_size": vocabulary, "tie_word_embeddings": False,
    }  # fmt: skip
    model = architecture(config)
    return TrainingStep(
        model,
        "lora",
        model.adapter_parameters(64),
        "none",
        1,
        1,
        length,
        True,
        gradient_accumulation_steps=8,
    )
