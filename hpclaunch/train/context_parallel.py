"""Context parallelism on the ranks: PyTorch's ring attention, on CPUs too.

PyTorch has the ring for CUDA's kernels alone. Its algorithm takes any kernel that returns the
logarithm of its sum, which the CPU's does: `enable_on_cpu` names it to PyTorch beside the others.
"""

from __future__ import annotations

import logging
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.parallel import check_model
from hpclaunch.recipe.schema import Recipe

SEQUENCE = 2
"""Dimension of the sequence in what attention takes: (batch, heads, tokens, head)."""


def set_up(recipe: Recipe, config: Any, device: str) -> None:
    """Make ring attention work for a recipe with context parallelism; do nothing for others.

    `config`: the model's. Raises UserError for a model that it does not compute.
    """
    if recipe.fsdp.context_parallel == 1:
        return
    check_model(recipe, config.to_dict())
    logging.getLogger("transformers.trainer").addFilter(_is_news)
    if device == "cpu":
        enable_on_cpu()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a warning of the trainer is more than that it makes labels and positions as meant."""
    return not record.getMessage().endswith(("shifting manually", "generating manually"))


def enable_on_cpu() -> None:
    """Have PyTorch's context parallelism take the CPU's attention kernel.

    Raises UserError for a PyTorch that has its parts under other names.
    """
    import torch

    try:
        from torch.distributed.tensor.experimental._context_parallel import _attention as ring

        handlers = ring.custom_ops
        ring._templated_ring_attention, ring._templated_ring_attention_backward  # noqa: B018
    except (ImportError, AttributeError):
        raise UserError(
            f"fsdp.context_parallel on CPUs: PyTorch {torch.__version__} has its ring attention "
            "elsewhere",
            "use GPUs, or PyTorch 2.13",
        ) from None
    aten = torch.ops.aten
    handlers[aten._scaled_dot_product_flash_attention_for_cpu.default] = _forward
    handlers[aten._scaled_dot_product_flash_attention_for_cpu_backward.default] = _backward


def _forward(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return attention and the logarithm of its sum, over the whole sequence."""
    from torch.distributed.tensor.experimental._context_parallel import _attention as ring

    names = ("query", "key", "value", "dropout_p", "is_causal")
    named = dict(zip(names, (_local(each) for each in inputs), strict=False))
    named = {"dropout_p": 0.0, "is_causal": False, **named}
    _check(options, named["dropout_p"])
    mesh = inputs[0].device_mesh
    made = ring._templated_ring_attention(
        mesh.get_group(), SEQUENCE, operation, scale=options.get("scale"), **named
    )
    return _sharded(made, mesh)


def _backward(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return the gradients of query, key and value."""
    from torch.distributed.tensor.experimental._context_parallel import _attention as ring

    names = ("grad_out", "query", "key", "value", "out", "logsumexp", "dropout_p", "is_causal")
    named = dict(zip(names, (_local(each) for each in inputs), strict=True))
    _check(options, named["dropout_p"])
    mesh = inputs[0].device_mesh
    made = ring._templated_ring_attention_backward(
        mesh.get_group(),
        SEQUENCE,
        operation,
        grad_out_name="grad_out",
        scale=options.get("scale"),
        **named,
    )
    return _sharded(made, mesh)


def _check(options: dict[str, Any], dropout: float) -> None:
    if options.get("attn_mask") is not None or dropout:
        raise ValueError("ring attention takes neither a mask nor dropout")


def _local(value: Any) -> Any:
    from torch.distributed.tensor import DTensor

    return value.to_local() if isinstance(value, DTensor) else value


def _sharded(parts: tuple[Any, ...], mesh: Any) -> tuple[Any, ...]:
    from torch.distributed.tensor import DTensor, Shard

    return tuple(
        DTensor.from_local(each, mesh, [Shard(SEQUENCE)], run_check=False) for each in parts
    )
