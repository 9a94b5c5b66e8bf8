"""Has accelerate shard a model on meta, and read the shards where it would broadcast them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hpclaunch.train.loading.adapters import read_token_rows
from hpclaunch.train.loading.deferred import deferred_load
from hpclaunch.train.loading.names import plain_name
from hpclaunch.train.loading.reader import Reader
from hpclaunch.train.loading.shards import from_local, from_rank_0
from hpclaunch.units import duration


def load_when_sharded(trainer: Any, log: Callable[[str], None] = lambda _: None) -> None:
    """Let accelerate's next sharding of the trainer's model read it, where that was deferred.

    Call it when the trainer has its adapters, and before training begins. `log` gets a line of how
    long reading took.
    """
    model = trainer.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    deferred = deferred_load(base)
    if deferred is None:
        return
    reader = Reader(deferred)
    read_token_rows(model, reader)
    _number(model)
    from accelerate.utils import fsdp_utils

    original = fsdp_utils.fsdp2_load_full_state_dict

    def load(
        accelerator: Any, model: Any, full_sd: dict[str, Any], cpu_offload: bool = False
    ) -> Any:
        fsdp_utils.fsdp2_load_full_state_dict = original
        started = time.monotonic()
        load_shards(model, full_sd, reader, cpu_offload=cpu_offload)
        base.deferred_load = None
        log(f"read in {duration(time.monotonic() - started)}")
        return model

    fsdp_utils.fsdp2_load_full_state_dict = load


def load_shards(
    model: Any, full: dict[str, Any], reader: Reader, *, cpu_offload: bool = False
) -> None:
    """Give a model that is sharded on meta its values. Collective.

    `full`: the state dict from before it was sharded. What is on meta there is read from the files,
    and the rest (adapters) taken from rank 0. Raises UserError for files that are not whole.
    """
    state = model.state_dict()
    values: dict[str, Any] = {}
    wanted: dict[str, list[str]] = defaultdict(list)
    for name, like in state.items():
        if full[name].is_meta:
            wanted[reader.source_of(plain_name(name))].append(name)
        else:
            values[name] = from_rank_0(full[name], like, cpu_offload=cpu_offload)
    for parts in reader.read({source: state[names[0]] for source, names in wanted.items()}):
        for source, local in parts.items():
            for name in wanted[source]:
                like = state[name]
                # A tensor of its own for each: PEFT trains a copy beside the original.
                part = local.to(like.dtype, copy=len(wanted[source]) > 1)
                values[name] = from_local(part, like, cpu_offload=cpu_offload)
    model.load_state_dict(values, assign=True)


def _number(model: Any) -> None:
    """Give each parameter on meta an address of its own.

    accelerate finds the optimizer's parameters again by `data_ptr()`, which is 0 for all on meta.
    """
    for number, parameter in enumerate(model.parameters(), start=1):
        if parameter.is_meta:
            parameter.data_ptr = lambda address=-number: address
