"""What levers bring in a plain training loop: LoRA on all linear layers, no Trainer, no FSDP.

Correctness first: the loss of packed samples must be that of each sample alone, under every kernel.
Tokens are those that count, padding left out. Adapters are held in bf16: what FSDP works with.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.batches import Batch, full, packed, padded
from tests.benchmarks.gpu.models import adapted, build, empty, fill, register_varlen, use
from tests.benchmarks.gpu.sizes import DEVICE, LENGTH, TINY

GIB = 2**30
WARM_UP, STEPS = 2, 4
LOSS_ROWS = 2048
"""Tokens whose logits are there at once."""
SAME_LOSS = 0.01
"""Relative difference that bf16 kernels may have."""


def small(folder: Path, kind: str) -> bool:
    """8B: attention kernels, packing, activation checkpointing."""
    free()
    register_varlen()
    model, optimizer = build("meta-llama/Llama-3.1-8B", "sdpa")
    words = model.config.vocab_size
    same = equal_losses(model)
    rows: list[tuple[str, str, bool, Callable[[int], Batch]]] = [
        ("full rows, batch 2", "sdpa", True, lambda _: full(words, 2)),
        ("full rows, batch 2", "sdpa", False, lambda _: full(words, 2)),
        ("short, padded, batch 2", "sdpa", True, lambda i: padded(words, 2, i)),
        ("short, padded, batch 32", "sdpa", True, lambda i: padded(words, 32, i)),
        ("short, packed, mask", "sdpa", True, lambda i: packed(words, i)),
        ("short, packed", "varlen", True, lambda i: packed(words, i)),
        ("short, packed", "varlen", False, lambda i: packed(words, i)),
    ]
    for label, kernel, checkpointing, batch in rows:
        if TINY and kernel == "varlen":
            continue  # it has no CPU kernel
        use(model, kernel, checkpointing)
        measure(f"{label}, {kernel}, checkpointing {checkpointing}", model, optimizer, batch)
    del model, optimizer
    free()
    return same


def large(folder: Path, kind: str) -> bool:
    """70B in 4 bits on one GPU: each matrix is made and quantized in place."""
    import bitsandbytes as bnb
    import torch

    if TINY:
        print("(70B: its 4-bit weights need a GPU)")
        return True
    free()
    register_varlen()
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
    use(model, "varlen", True)
    for rows in (1, 2):
        label = f"70B QLoRA, packed to {rows * LENGTH}, varlen, checkpointing True"
        measure(label, model, optimizer, partial(packed, words, rows=rows), steps=2)
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


def equal_losses(model: Any) -> bool:
    """Whether a packed row has the loss of its samples one by one, under each kernel."""
    import torch

    ids, labels, more, _ = packed(model.config.vocab_size, 1, 1)
    use(model, "sdpa", False)
    bounds = more["cu_seq_lens_q"].tolist()
    total, count = 0.0, 0
    with torch.no_grad():
        for begin, end in pairwise(bounds):
            tokens = int((labels[:, begin + 1 : end] != -100).sum())
            if tokens:
                alone = loss_of(model, ids[:, begin:end], labels[:, begin:end], {})
                total, count = total + alone.item() * tokens, count + tokens
        alone_loss, within = total / count, True
        for kernel in ("sdpa",) if TINY else ("sdpa", "varlen"):
            use(model, kernel, False)
            loss = loss_of(model, ids, labels, more).item()
            same = abs(loss / alone_loss - 1) <= SAME_LOSS
            within &= same
            verdict = "equal" if same else "NOT EQUAL"
            print(
                f"| packed, {kernel} | loss {loss:.5f}, samples alone {alone_loss:.5f}: {verdict} |"
            )
    return within


def measure(
    label: str, model: Any, optimizer: Any, batch: Callable[[int], Batch], steps: int = STEPS
) -> None:
    """Take steps and print throughput, step time and peak memory."""
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
        loss_of(model, ids, labels, more).backward()
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
