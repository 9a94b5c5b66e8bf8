"""What levers bring in a plain training loop: LoRA on all linear layers, no Trainer, no FSDP.

Tokens are those that count, padding left out. Adapters are held in bf16: what FSDP works with.
"""

from __future__ import annotations

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hpclaunch.recipe.attention import VARLEN
from hpclaunch.train.kernels.fused_lora import fuse
from hpclaunch.train.kernels.fused_loss import HeadLogProbs
from tests.benchmarks.gpu.batches import Batch, full, packed, padded
from tests.benchmarks.gpu.models import adapted, build, empty, fill, use
from tests.benchmarks.gpu.sizes import DEVICE, LENGTH, TINY

GIB = 2**30
WARM_UP, STEPS = 2, 4
LOSS_ROWS = 2048
"""Tokens whose logits are there at once."""


def small(folder: Path, kind: str) -> bool:
    """8B: attention kernels, packing, activation checkpointing, fused layers and loss."""
    model, optimizer = build("meta-llama/Llama-3.1-8B", "sdpa")
    words = model.config.vocab_size
    for label, kernel, checkpointing, batch in (
        ("full rows, batch 2", "sdpa", True, lambda _: full(words, 2)),
        ("full rows, batch 2", "sdpa", False, lambda _: full(words, 2)),
        ("short, padded, batch 2", "sdpa", True, lambda i: padded(words, 2, i)),
        ("short, packed, mask", "sdpa", True, lambda i: packed(words, i)),
        ("short, packed", VARLEN, True, lambda i: packed(words, i)),
        ("short, packed", VARLEN, False, lambda i: packed(words, i)),
    ):
        use(model, kernel, checkpointing)
        measure(f"{label}, {kernel}, checkpointing {checkpointing}", model, optimizer, batch)
    fuse(model)
    use(model, VARLEN, False)
    measure("the same, fused layers", model, optimizer, partial(packed, words))
    for label, kernel, checkpointing, batch in (
        ("short, packed", VARLEN, False, lambda i: packed(words, i)),
        ("short, packed to four rows", VARLEN, False, lambda i: packed(words, i, 4)),
        ("full rows, batch 2", "sdpa", False, lambda _: full(words, 2)),
        ("full rows, batch 2", "sdpa", True, lambda _: full(words, 2)),
    ):
        use(model, kernel, checkpointing)
        name = f"fused layers and loss, {label}, {kernel}, checkpointing {checkpointing}"
        measure(name, model, optimizer, batch, loss=fused_loss_of)
    del model, optimizer
    free()
    model, optimizer = build("meta-llama/Llama-3.1-8B", VARLEN)
    fuse(model, recomputed_mlps=model.config.num_hidden_layers)
    label = f"fused layers and loss, gate and up again, packed to {4 * LENGTH}"
    measure(label, model, optimizer, partial(packed, words, rows=4), loss=fused_loss_of)
    return True


def liger(folder: Path, kind: str) -> bool:
    """8B: Liger's RoPE, norm and SwiGLU, over PEFT's layers."""
    if importlib.util.find_spec("liger_kernel") is None:
        print("(Liger: the package liger-kernel is not installed)")
        return True
    liger_kernel = importlib.import_module("liger_kernel.transformers")
    liger_kernel.apply_liger_kernel_to_llama(
        rope=True, rms_norm=True, swiglu=True, cross_entropy=False,
        fused_linear_cross_entropy=False,
    )  # fmt: skip
    model, optimizer = build("meta-llama/Llama-3.1-8B", VARLEN)
    label = f"Liger, packed to {2 * LENGTH}, checkpointing False"
    measure(label, model, optimizer, partial(packed, model.config.vocab_size), loss=fused_loss_of)
    return True


def compiled(folder: Path, kind: str) -> bool:
    """8B: layers compiled one by one, PEFT's and then fused ones."""
    import torch

    for fused in (False, True):
        model, optimizer = build("meta-llama/Llama-3.1-8B", VARLEN)
        if fused:
            torch._dynamo.config.trace_autograd_ops = True
            fuse(model)
        for layer in model.get_base_model().model.layers:
            layer.compile()
        began = time.perf_counter()
        label = f"layers compiled, fused {fused}, packed to {2 * LENGTH}, checkpointing False"
        words = model.config.vocab_size
        measure(label, model, optimizer, partial(packed, words), loss=fused_loss_of)
        print(f"(with compiling and {WARM_UP + STEPS} steps: {time.perf_counter() - began:.0f} s)")
        del model, optimizer
        free()
    return True


def large(folder: Path, kind: str) -> bool:
    """70B in 4 bits on one GPU: each matrix is made and quantized in place."""
    import bitsandbytes as bnb
    import torch

    if TINY:
        print("(70B: its 4-bit weights need a GPU)")
        return True
    model = empty("meta-llama/Llama-3.1-70B")
    settings = {"compress_statistics": True, "quant_type": "nf4", "quant_storage": torch.bfloat16}
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            weight = torch.empty_like(module.weight, device=DEVICE).normal_(0, 0.02)
            linear = bnb.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, device="meta",
                compute_dtype=torch.bfloat16, **settings,
            )  # fmt: skip
            four_bits = bnb.nn.Params4bit(weight, requires_grad=False, **settings)
            linear.weight = four_bits.to(DEVICE)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, linear)
    fill(model)
    words = model.config.vocab_size
    model, optimizer = adapted(model)
    fuse(model)
    use(model, VARLEN, True)
    for rows in (1, 2):
        label = f"70B QLoRA, fused, packed to {rows * LENGTH}, {VARLEN}, checkpointing True"
        batch = partial(packed, words, rows=rows)
        measure(label, model, optimizer, batch, steps=2, loss=fused_loss_of)
    del model, optimizer
    free()
    return True


def loss_of(model: Any, ids: Any, labels: Any, more: dict[str, Any]) -> Any:
    """Return the mean loss; logits are made a few rows at a time, and again for the gradient."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.checkpoint import checkpoint

    inner = model.get_base_model()

    def part(hidden: Any, wanted: Any) -> Any:
        logits = (hidden @ inner.lm_head.weight.t()).float()
        return cross_entropy(logits, wanted, reduction="sum", ignore_index=-100)

    hidden = inner.model(input_ids=ids, use_cache=False, **more).last_hidden_state
    hidden, wanted = hidden[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = torch.zeros((), device=DEVICE)
    for begin in range(0, hidden.shape[0], LOSS_ROWS):
        rows = slice(begin, begin + LOSS_ROWS)
        total = total + checkpoint(part, hidden[rows], wanted[rows], use_reentrant=False)
    return total / (wanted != -100).sum()


def fused_loss_of(model: Any, ids: Any, labels: Any, more: dict[str, Any]) -> Any:
    """Return the mean loss by the product's function, whose gradient is made at once."""
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids, use_cache=False, **more).last_hidden_state
    hidden, wanted = hidden[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    counted = wanted != -100
    head = inner.lm_head.weight
    outputs = HeadLogProbs.apply(hidden[counted], head, None, wanted[counted], 1.0, 0)
    return -outputs[0].mean()


def measure(
    label: str,
    model: Any,
    optimizer: Any,
    batch: Callable[[int], Batch],
    steps: int = STEPS,
    loss: Callable[..., Any] = loss_of,
) -> None:
    """Take steps and print throughput, step time and peak memory; or that there is no memory."""
    import torch

    try:
        _measure(label, model, optimizer, batch, steps, loss)
    except torch.OutOfMemoryError:
        print(f"| {label} | out of memory |", flush=True)
    optimizer.zero_grad()
    free()


def _measure(
    label: str,
    model: Any,
    optimizer: Any,
    batch: Callable[[int], Batch],
    steps: int,
    loss: Callable[..., Any],
) -> None:
    import torch

    on_gpu = DEVICE == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds, counted = [], 0
    for number in range(WARM_UP + steps):
        ids, labels, more, tokens = batch(number)
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        loss(model, ids, labels, more).backward()
        optimizer.step()
        optimizer.zero_grad()
        if on_gpu:
            torch.cuda.synchronize()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - began)
            counted += tokens
    peak = f"{torch.cuda.max_memory_allocated() / GIB:.1f} GiB" if on_gpu else "unknown"
    print(
        f"| {label} | {counted / sum(seconds):,.0f} tokens/s | step "
        f"{statistics.median(seconds):.3f} s | peak {peak} |",
        flush=True,
    )


def free() -> None:
    """Return the GPU's memory to the next part."""
    import torch

    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
