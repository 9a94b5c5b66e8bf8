"""Attention kernels: which one a model trains with, and PyTorch's own for packed samples."""

from __future__ import annotations

import importlib.util
import inspect
from functools import cache
from itertools import pairwise
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.attention import VARLEN, VARLEN_FAMILIES, VARLEN_HEAD

FLASH_PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
"""The package of each FlashAttention; Transformers takes the Hub's kernel where it is missing."""
HUB_KERNELS = {"flash_attention_2": "flash-attn2", "flash_attention_3": "vllm-flash-attn3"}
"""Repositories of `kernels-community` that Transformers loads in their place."""


def attn_implementation(wanted: str, device: str, config: Any, dtype: str, *, packed: bool) -> str:
    """Return the attention implementation for `model.attention`, by Transformers' name.

    auto, on a GPU and in 16 bits: FlashAttention 3 or 2 where installed or where its Hub kernel is
    in the cache, else PyTorch's `varlen_attn` for packed samples, else sdpa. `config`: the model's.
    Raises UserError where the requested kernel is not there or computes another attention.
    """
    if wanted == "auto":
        if device != "cuda" or dtype == "float32":
            return "sdpa"
        flash = _flash(config)
        if flash is not None:
            return flash
        return VARLEN if packed and varlen_problem(config) is None else "sdpa"
    check_installed(wanted, device)
    if wanted == VARLEN:
        problem = varlen_problem(config)
        if not packed:
            problem = "is for packed samples, and training.packing is off"
        if problem is not None:
            raise UserError(f"model.attention: {VARLEN} {problem}", "set model.attention: auto")
    return wanted


def check_installed(wanted: str, device: str) -> None:
    """Refuse a kernel that is not installed, or that needs a GPU. Raises UserError."""
    package = FLASH_PACKAGES.get(wanted)
    if device != "cuda" and (package or wanted == "flex_attention"):
        raise UserError(f"model.attention: {wanted} needs a GPU", "set model.attention: auto")
    if package and importlib.util.find_spec(package) is None and not _hub_kernel(wanted):
        raise UserError(
            f"model.attention: {wanted} needs the package {package}, which is not installed",
            "set model.attention: auto, or install it in the job's environment",
        )


def varlen_problem(config: Any) -> str | None:
    """Return why a model cannot use `varlen_attn`, None where it can."""
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    family, there = config.model_type, importlib.util.find_spec("torch.nn.attention.varlen")
    windows = getattr(text, "sliding_window", None) is not None
    problems = (
        (family not in VARLEN_FAMILIES, f"is not known to compute the attention of {family}"),
        (getattr(text, "attn_logit_softcapping", None), "has no soft-capping, which it asks for"),
        (getattr(text, "attention_dropout", 0.0), "has no dropout, which the model's config sets"),
        (head > VARLEN_HEAD, f"takes heads of {VARLEN_HEAD} values at most, and these have {head}"),
        (there is None, "needs PyTorch 2.10 or later"),
        (
            there is not None and windows and "window_size" not in _varlen_parameters(),
            "has no sliding window in this version of PyTorch",
        ),
    )
    return next((problem for wrong, problem in problems if wrong), None)


def register_varlen() -> None:
    """Let Transformers call `varlen_attn`. It needs no mask: boundaries come with the batch."""
    import torch
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(VARLEN, varlen_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(VARLEN, lambda *_, **__: None)
    if torch.cuda.is_available() and "enable_gqa" not in _varlen_parameters():
        # Its trial keeps tensors for a backward pass. Within an activation checkpoint's first
        # forward pass those would be missing when the pass is made again.
        _takes_grouped_heads()


def varlen_attention_forward(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **batch: Any,
) -> tuple[Any, None]:
    """Return the attention of a packed row, with Transformers' signature: (1, tokens, heads, head).

    `batch` holds the samples' boundaries as TRL's collator makes them. On CPUs each sample goes
    through PyTorch's scaled_dot_product_attention. Raises ValueError for a batch that is not
    packed, or comes with a mask.
    """
    bounds = batch.get("cu_seq_lens_q")
    if bounds is None or attention_mask is not None or dropout or query.shape[0] != 1:
        raise ValueError("varlen_attn got a batch that is not packed into one row")
    dtype = _compute_dtype(query)
    q, k, v = (each[0].transpose(0, 1).to(dtype) for each in (query, key, value))
    window = None if sliding_window is None else sliding_window - 1
    if query.device.type == "cuda":
        longest = int(batch["max_length_q"])
        return _varlen(q, k, v, bounds, longest, scaling, window)[None], None
    return _by_sample(q, k, v, bounds.tolist(), scaling, window)[None], None


def _flash(config: Any) -> str | None:
    """Return the newest FlashAttention that is installed and right for a model."""
    import torch

    text = config.get_text_config()
    if config.model_type == "gpt_oss" or getattr(text, "attn_logit_softcapping", None):
        return None  # sinks and soft-capping: Transformers' own default is right
    hopper = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
    for name in ("flash_attention_3", "flash_attention_2"):
        if name == "flash_attention_3" and not hopper:
            continue
        if importlib.util.find_spec(FLASH_PACKAGES[name]) is not None or _hub_kernel(name):
            return name
    return None


def _hub_kernel(name: str) -> bool:
    """Return whether `kernels` is installed and the Hub's kernel lies in the cache."""
    if importlib.util.find_spec("kernels") is None:
        return False
    from pathlib import Path

    from huggingface_hub import constants

    folder = f"models--kernels-community--{HUB_KERNELS[name]}"
    return any((Path(constants.HF_HUB_CACHE) / folder / "snapshots").glob("*/build/*"))


@cache
def _varlen_parameters() -> frozenset[str]:
    """Return the parameter names of the installed PyTorch's `varlen_attn`."""
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


@cache
def _takes_grouped_heads() -> bool:
    """Return whether a `varlen_attn` without `enable_gqa` takes fewer heads of keys all the same.

    Its kernel does, and repeated keys and values would be kept for the backward pass. Tried out,
    forward and backward, against repeated ones.
    """
    import torch
    from torch.nn.attention.varlen import varlen_attn

    bounds = torch.tensor([0, 8], dtype=torch.int32, device="cuda")
    seeded = torch.Generator("cuda").manual_seed(0)  # the training's own draws stay as they are
    q, k, v = (
        torch.randn(8, heads, 64, generator=seeded, device="cuda", dtype=torch.bfloat16)
        for heads in (4, 2, 2)
    )
    for each in (q, k, v):
        each.requires_grad_()

    def learn(*keys: Any) -> list[Any]:
        out = varlen_attn(q, *keys, bounds, bounds, 8, 8)
        return [out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))]

    try:
        grouped = learn(k, v)
        repeated = learn(*(each.repeat_interleave(2, 1) for each in (k, v)))
    except (RuntimeError, ValueError):
        return False
    return all(
        torch.allclose(one, other, rtol=0.05, atol=0.05)
        for one, other in zip(grouped, repeated, strict=True)
    )


def _compute_dtype(query: Any) -> Any:
    """Return what a kernel in 16 bits computes in: norms of heads may have left 32 bits."""
    import torch

    device = query.device.type
    if query.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return query.dtype


def _varlen(
    q: Any, k: Any, v: Any, bounds: Any, longest: int, scale: float | None, window: int | None
) -> Any:
    """Call the kernel by the signature that the installed PyTorch has."""
    from torch.nn.attention.varlen import varlen_attn

    takes = _varlen_parameters()
    options: dict[str, Any] = {}
    if "scale" in takes:
        options["scale"] = scale
    elif scale is not None:
        q = q * (scale * q.shape[-1] ** 0.5)
    if "enable_gqa" in takes:
        options["enable_gqa"] = True
    elif not _takes_grouped_heads():
        k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], 1) for each in (k, v))
    if "window_size" in takes:
        options["window_size"] = (-1 if window is None else window, 0)
    else:
        options["is_causal"] = True
    return varlen_attn(q, k, v, bounds, bounds, longest, longest, **options)


def _by_sample(
    q: Any, k: Any, v: Any, bounds: list[int], scale: float | None, window: int | None
) -> Any:
    """Compute the same sample by sample, on any device."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    made = []
    for begin, end in pairwise(bounds):
        a, b, c = (each[begin:end].transpose(0, 1)[None] for each in (q, k, v))
        band = None
        if window is not None and end - begin > window + 1:
            whole = torch.ones(end - begin, end - begin, dtype=torch.bool, device=q.device)
            band = whole.tril().triu(-window)
        out = scaled_dot_product_attention(
            a, b, c, attn_mask=band, is_causal=band is None, scale=scale, enable_gqa=True
        )
        made.append(out[0].transpose(0, 1))
    return torch.cat(made)
