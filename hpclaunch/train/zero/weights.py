"""Parameters that ZeRO has partitioned, made whole one by one."""

from __future__ import annotations

from typing import Any

from hpclaunch.train.distributed import DistContext


def whole(parameter: Any, context: DistContext, *, master: bool) -> Any:
    """Return a parameter or buffer on the CPU of the first rank, None on the others. Collective.

    `master`: the fp32 value that is trained, not the one in 16 bits that the model computes with.
    """
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    if master and parameter.requires_grad:
        return _kept(safe_get_full_fp32_param(parameter), context)
    if not hasattr(parameter, "ds_id"):  # whole here: ZeRO-2's, and every buffer
        return _kept(parameter, context)
    with deepspeed.zero.GatheredParameters([parameter]):
        return _kept(parameter, context)


def _kept(value: Any, context: DistContext) -> Any:
    return value.detach().to("cpu", copy=True) if context.is_main_process else None
