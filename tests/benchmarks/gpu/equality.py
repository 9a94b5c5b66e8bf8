"""Is it right on a GPU? Packing, kernels and fused layers against the same model in 32 bits.

A few layers of an 8B model with its real widths: loss and gradients in bf16 of each way, and how
far each is from those in 32 bits. Two ways whose distances to the truth are alike differ by
rounding only, however far they are from each other.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

from hpclaunch.recipe.attention import VARLEN
from hpclaunch.train.kernels.fused_lora import fuse
from tests.benchmarks.gpu.batches import packed
from tests.benchmarks.gpu.levers import free, fused_loss_of, loss_of
from tests.benchmarks.gpu.models import build, use
from tests.benchmarks.gpu.sizes import TINY

LAYERS = 2 if TINY else 8
TOLERATED = 1.15
"""A way's distance to the truth, at most, over that of PEFT with sdpa, each sample alone."""


def check(folder: Path, kind: str) -> bool:
    """Print how far each way is from the truth; returns whether all are as near as PEFT's."""
    import torch

    model, _ = build("meta-llama/Llama-3.1-8B", "sdpa", num_hidden_layers=LAYERS)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    batch = packed(model.config.vocab_size, 1, 1)
    exact = copy.deepcopy(model).float()
    torch.backends.cuda.matmul.allow_tf32 = False
    use(exact, "sdpa", False)
    truth = learn(exact, batch, by_sample)
    del exact
    free()
    use(model, "sdpa", False)
    plain = learn(model, batch, by_sample)
    nearest = report("PEFT, sdpa, each sample alone", plain, truth, plain)
    within = True
    for kernel in ("sdpa", VARLEN):
        use(model, kernel, False)
        found = learn(model, batch, loss_of)
        within &= report(f"packed, {kernel}", found, truth, plain) <= TOLERATED * nearest
    fuse(model)
    for label, loss, checkpointing in (
        ("fused layers", loss_of, False),
        ("fused layers and loss", fused_loss_of, False),
        ("fused layers and loss, checkpointing", fused_loss_of, True),
    ):
        use(model, VARLEN, checkpointing)
        found = learn(model, batch, loss)
        within &= report(f"packed, {VARLEN}, {label}", found, truth, plain) <= TOLERATED * nearest
    return within


def by_sample(model: Any, ids: Any, labels: Any, more: dict[str, Any]) -> Any:
    """Return the mean loss of a row's samples, each computed alone."""
    total, counted = 0.0, int((labels[:, 1:] != -100).sum())
    for begin, end in pairwise(more["cu_seq_lens_q"].tolist()):
        tokens = int((labels[:, begin + 1 : end] != -100).sum())
        if tokens:
            loss = loss_of(model, ids[:, begin:end], labels[:, begin:end], {})
            (loss * (tokens / counted)).backward()
            total += loss.item() * tokens / counted
    return total


def learn(model: Any, batch: Any, loss_function: Any) -> tuple[float, Any]:
    """Return the loss and the gradient of all adapters, in 32 bits."""
    import torch

    ids, labels, more, _ = batch
    model.zero_grad()
    loss = loss_function(model, ids, labels, more)
    if not isinstance(loss, float):
        loss.backward()
    trained = [each.grad.float().flatten() for each in model.parameters() if each.requires_grad]
    found = torch.cat(trained)
    model.zero_grad()
    return loss if isinstance(loss, float) else loss.item(), found


def report(label: str, found: Any, truth: Any, plain: Any) -> float:
    """Print the distances of a loss and a gradient; returns the gradient's to the truth."""
    to_truth, to_plain = (
        float((found[1] - other[1]).norm() / other[1].norm()) for other in (truth, plain)
    )
    print(
        f"| {label} | loss {found[0]:.5f}, in 32 bits {truth[0]:.5f} | gradient to the truth "
        f"{to_truth:.2e} | to PEFT's {to_plain:.2e} |",
        flush=True,
    )
    return to_truth
