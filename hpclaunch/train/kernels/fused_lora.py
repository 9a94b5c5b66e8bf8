"""Fused LoRA layers over PEFT's own: the same mathematics, fewer kernels, less kept.

`fuse` replaces `forward` of PEFT's layer objects and of the norms and MLPs around them, so saving,
merging and switching adapters off stay PEFT's. A call that is not the plain case (dropout, DoRA,
several adapters, trained biases, adapters by sample) goes to PEFT's forward, found out each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from torch.distributed.tensor import DTensor

from hpclaunch.train.kernels import projections
from hpclaunch.train.kernels.projections import LoraProjections, LoraSwiGLU, Options, Projection

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Granite", "Mixtral")
"""Model families of Transformers whose parts, by class name, are what is fused here."""
ATTENTIONS = frozenset(
    f"{name}Attention" for name in (*FAMILIES, "Gemma", "Gemma2", "Gemma3", "Qwen3Moe")
)
"""Classes whose q, k and v take one input."""
MLPS = frozenset(f"{name}MLP" for name in FAMILIES)
"""Classes of down(act(gate(x)) * up(x))."""
NORMS = frozenset(f"{name}RMSNorm" for name in FAMILIES)
"""Classes of weight * x / rms(x)."""


class Source(NamedTuple):
    """Where a normed tensor comes from: enough to compute it again."""

    x: torch.Tensor
    weight: torch.Tensor
    eps: float
    """Added to the mean square, in its unit."""


class Fused(NamedTuple):
    """How many parts of a model run fused."""

    projections: int
    mlps: int
    norms: int


def fuse(model: Any, *, recomputed_mlps: int = 0) -> Fused:
    """Let a PEFT model's layers run fused where they can. Call it before the model is sharded.

    `recomputed_mlps`: how many MLPs, from the first layer on, compute gate and up again in the
    backward pass instead of keeping them.
    """
    attentions = mlps = norms = 0
    shared: set[int] = set()
    for module in model.modules():
        kind = type(module).__name__
        if kind in ATTENTIONS:
            group = [getattr(module, name, None) for name in ("q_proj", "k_proj", "v_proj")]
            if all(isinstance(each, LoraLayer) or _linear(each) for each in group) and any(
                isinstance(each, LoraLayer) for each in group
            ):
                _share(group)
                shared |= {id(each) for each in group}
                attentions += 1
        elif kind in MLPS and _is_silu(module):
            _fuse_mlp(module, keep=mlps >= recomputed_mlps)
            mlps += 1
        elif kind in NORMS:
            _fuse_norm(module)
            norms += 1
    for module in model.modules():
        if isinstance(module, LoraLayer) and hasattr(module, "lora_A") and id(module) not in shared:
            _share([module])
    return Fused(attentions, mlps, norms)


def is_plain(module: Any) -> bool:
    """Return whether a module's call now would run fused."""
    return _tensors_of(module) is not None


def _linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Linear4bit")


def _is_silu(mlp: Any) -> bool:
    return getattr(mlp.config, "hidden_act", None) == "silu" and not getattr(
        mlp.config, "mlp_bias", False
    )


def _tensors_of(module: Any) -> tuple[Projection, tuple[Any, ...]] | None:
    """Return a matrix's Projection and tensors (weight, bias, A, B), None if PEFT must run it."""
    if module._forward_pre_hooks or module._forward_hooks:
        return None  # PEFT hands adapter names by sample to its layers by hooks
    base, adapter, scaling = module, (None, None), 0.0
    if isinstance(module, LoraLayer):
        plain = _plain_adapter(module)
        if plain is None:
            return None
        base, adapter, scaling = module.base_layer, plain[:2], plain[2]
        if base._forward_hooks or base._forward_pre_hooks:
            return None
    quant_state = getattr(base.weight, "quant_state", None) or getattr(base, "quant_state", None)
    tensors = (base.weight, getattr(base, "bias", None), *adapter)
    if type(base).__name__ != ("Linear" if quant_state is None else "Linear4bit"):
        return None
    trained = any(each is not None and each.requires_grad for each in tensors[:2])
    if trained or any(isinstance(each, DTensor) for each in tensors):
        return None
    rank = 0 if adapter[0] is None else adapter[0].shape[0]
    return Projection(scaling, rank, quant_state), tensors


def _plain_adapter(layer: Any) -> tuple[Any, Any, float] | None:
    """Return A, B and scaling of a layer's only active adapter, None where it is no plain one."""
    if layer.disable_adapters or layer.merged or getattr(layer, "fan_in_fan_out", False):
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or active[0] in layer.lora_variant:
        return None
    name = active[0]
    down, up = layer.lora_A[name], layer.lora_B[name]
    dropout = getattr(layer.lora_dropout[name], "p", 0.0) if layer.training else 0.0
    if dropout or down.bias is not None or up.bias is not None:
        return None
    return down.weight, up.weight, float(layer.scaling[name])


def _run(function: Any, x: torch.Tensor, modules: Sequence[Any], *, keep: bool = True) -> Any:
    """Run a fused function over an input, None where PEFT's layers must do it."""
    found = [_tensors_of(module) for module in modules]
    if any(each is None for each in found):
        return None
    device, source = x.device.type, getattr(x, "source", None)
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
    if not dtype.is_floating_point:
        return None
    if x.dtype != dtype or (source is not None and source.x.dtype != dtype):
        x, source = x.to(dtype), None
    options = Options(tuple(each[0] for each in found if each), keep=keep)
    weights = [tensor for each in found if each for tensor in each[1]]
    with torch.autocast(device, enabled=False):
        if source is None:
            return function.apply(x, None, None, options, *weights)
        options = options._replace(eps=source.eps)
        return function.apply(source.x, x.detach(), source.weight, options, *weights)


class _Shared:
    """Projections asked for one by one with the same input, all computed at the first call."""

    def __init__(self, modules: list[Any]) -> None:
        self.modules = modules
        self.forwards = [module.forward for module in modules]
        self.x: torch.Tensor | None = None
        self.made: dict[int, Any] = {}

    def call(self, i: int, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return projection `i` of x; everything that is not plain is PEFT's forward."""
        if args or kwargs:
            return self.forwards[i](x, *args, **kwargs)
        if self.x is not x or i not in self.made:
            made = _run(LoraProjections, x, self.modules)
            if made is None:
                self.x, self.made = None, {}
                return self.forwards[i](x)
            self.x, self.made = x, dict(enumerate(made))
        output = self.made.pop(i)
        if not self.made:
            self.x = None
        return output


def _share(modules: list[Any]) -> None:
    shared = _Shared(modules)

    def forward_of(i: int) -> Callable[..., Any]:
        return lambda x, *args, **kwargs: shared.call(i, x, *args, **kwargs)

    for i, module in enumerate(modules):
        module.forward = forward_of(i)


def _fuse_mlp(mlp: Any, *, keep: bool) -> None:
    original = mlp.forward

    def forward(x: torch.Tensor) -> Any:
        made = _run(LoraSwiGLU, x, (mlp.gate_proj, mlp.up_proj, mlp.down_proj), keep=keep)
        return original(x) if made is None else made

    mlp.forward = forward


def _fuse_norm(norm: Any) -> None:
    original = norm.forward

    def forward(x: torch.Tensor) -> Any:
        weight = norm.weight
        if x.dtype != weight.dtype or weight.requires_grad or isinstance(weight, DTensor):
            return original(x)
        h = projections.rms_norm(x, weight, norm.variance_epsilon)
        h.source = Source(x, weight, norm.variance_epsilon)
        return h

    norm.forward = forward
