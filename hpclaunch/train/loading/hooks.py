"""Has accelerate shard a model on meta, and read the shards where it would broadcast them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hpclaunch.train.loading.adapters import read_token_rows
from hpclaunch.train.loading.files import deferred_load
from hpclaunch.train.loading.four_bit_loading import FourBitLoading
from hpclaunch.train.loading.heap import freed_at_once
from hpclaunch.train.loading.reader import Reader, read_parts
from hpclaunch.train.loading.shards import from_rank_0
from hpclaunch.units import duration


def load_when_sharded(model: Any, log: Callable[[str], None] = lambda _: None) -> None:
    """Let accelerate's next sharding of a model read it, where that was deferred.

    Call it when the model has its adapters. `log` gets a line of how long reading took.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    deferred = deferred_load(base)
    if deferred is None:
        return
    reader = Reader(deferred)
    read_token_rows(model, reader)
    _number(model)

    def loaded(seconds: float, how: str = "") -> None:
        base.deferred_load = None
        log(f"read in {duration(seconds)}{how}")

    if deferred.load_config.is_quantized:
        _replace_prepare(FourBitLoading(reader, deferred, log), loaded)
    else:
        _replace_broadcast(reader, loaded)


def _replace_broadcast(reader: Reader, loaded: Callable[[float], None]) -> None:
    """Read where accelerate would broadcast."""
    from accelerate.utils import fsdp_utils

    original = fsdp_utils.fsdp2_load_full_state_dict

    def load(
        accelerator: Any, model: Any, full_sd: dict[str, Any], cpu_offload: bool = False
    ) -> Any:
        fsdp_utils.fsdp2_load_full_state_dict = original
        started = time.monotonic()
        load_shards(model, full_sd, reader, cpu_offload=cpu_offload)
        loaded(time.monotonic() - started)
        return model

    fsdp_utils.fsdp2_load_full_state_dict = load


def _replace_prepare(loading: FourBitLoading, loaded: Callable[[float, str], None]) -> None:
    """Read when accelerate has sharded a model with 4-bit weights, which it neither moves to meta
    nor broadcasts."""
    from accelerate import accelerator as module
    from torch.distributed.fsdp import CPUOffloadPolicy

    original = module.fsdp2_prepare_model

    def prepare(accelerator: Any, model: Any) -> Any:
        module.fsdp2_prepare_model = original
        model = original(accelerator, model)
        started = time.monotonic()
        offload = isinstance(accelerator.state.fsdp_plugin.cpu_offload, CPUOffloadPolicy)
        loading.load(model, cpu_offload=offload)
        model.tie_weights()
        loaded(time.monotonic() - started, loading.how)
        loading.keep_weights(model)
        return model

    module.fsdp2_prepare_model = prepare


@freed_at_once()
def load_shards(
    model: Any, full: dict[str, Any], reader: Reader, *, cpu_offload: bool = False
) -> None:
    """Give a model that is sharded on meta its values. Collective.

    `full`: the state dict from before it was sharded. What is on meta there is read from the files,
    and the rest (adapters) taken from rank 0. Raises UserError for files that are not whole.
    """
    state = model.state_dict()
    on_meta = {name: like for name, like in state.items() if full[name].is_meta}
    values = {
        name: from_rank_0(full[name], like, cpu_offload=cpu_offload)
        for name, like in state.items()
        if name not in on_meta
    }
    values |= read_parts(on_meta, reader, cpu_offload=cpu_offload)
    model.load_state_dict(values, assign=True)


def _number(model: Any) -> None:
    """Give each parameter on meta an address of its own.

    accelerate finds the optimizer's parameters again by `data_ptr()`, which is 0 for all on meta.
    """
    for number, parameter in enumerate(model.parameters(), start=1):
        if parameter.is_meta:
            parameter.data_ptr = lambda address=-number: address
