"""Merge: an adapter and its base become one model, in RUN/final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.inference import PROCESS, largest_tensor
from hpclaunch.predict.training_step import FP32_BYTES
from hpclaunch.run.stage_settings import Merge
from hpclaunch.stages.loaded import loaded_model
from hpclaunch.stages.need import Need, Unknown
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Rows, Stage
from hpclaunch.units import size

UNMERGEABLE_INITS = ("pissa", "olora", "corda", "loftq")
"""Initializations of LoRA that change the base's own weights: the base on disk is another."""
UNMERGEABLE_FIELDS = {
    "alora_invocation_tokens": "activated LoRA (aLoRA)",
    "layer_replication": "replicated layers",
    "megatron_config": "Megatron layers",
    "use_qalora": "QA-LoRA",
    "arrow_config": "an Arrow router",
}


def check(settings: Merge, sources: Sequence[KnownSource]) -> None:
    """Refuse what is no adapter, or one that cannot become a part of its base. Raises UserError."""
    for known in sources:
        name = known.source.name
        if known.is_adapter is False or (known.is_adapter is None and known.source.model):
            raise UserError(
                f"{name} is a whole model: there is no adapter to merge",
                f"take it as it is{f': {known.weights}' if known.weights else ''}",
            )
        if known.adapter is not None:
            check_adapter(known.adapter, name)


def check_adapter(config: Mapping[str, Any], name: str) -> None:
    """Refuse an adapter that cannot be merged. Raises UserError."""
    kind = config.get("peft_type")
    init = str(config.get("init_lora_weights")).lower().split("_")[0]
    reason = next((text for key, text in UNMERGEABLE_FIELDS.items() if config.get(key)), None)
    if kind != "LORA":
        reason = f"a PEFT type other than LoRA ({kind})"
    elif init in UNMERGEABLE_INITS:
        reason = f"init_lora_weights: {init}, which changed the base's own weights"
    if reason:
        raise UserError(
            f"the adapter of {name} cannot be merged: it has {reason}", "load it with PEFT"
        )


def need(settings: Merge, sources: Sequence[KnownSource]) -> Need | Unknown:
    """Return the memory of the largest tensor twice; comparing logits takes the whole model."""
    used = loaded_model(sources[0])
    if isinstance(used, Unknown):
        return used
    tensors = 2 * FP32_BYTES * largest_tensor(used.model)
    return Need(
        cpu_bytes=int(PROCESS + tensors + FP32_BYTES * used.adapter_parameters),
        more_bytes=int(1.3 * used.weight_bytes) if settings.verify else 0,
    )


def rows(values: Mapping[str, Any]) -> Rows:
    """Return what merge leaves, as label and text."""
    found: Rows = []
    if isinstance(values.get("bytes"), int):
        shards = values.get("files")
        found.append(("model", f"{size(values['bytes'])} in {shards} files of weights"))
    if values.get("untied"):
        found.append(("note", "input and output embeddings differ now: they are stored apart"))
    compared = values.get("logits")
    if isinstance(compared, dict):
        found.append(
            (
                "verified",
                f"logits of adapter and merged model differ by {compared.get('max'):.3g} at most, "
                f"KL divergence {compared.get('kl'):.2g}",
            )
        )
    elif isinstance(values.get("not_verified"), str):
        found.append(("verified", f"no: {values['not_verified']}"))
    return found


STAGE = Stage(settings=Merge, rows=rows, check=check, need=need)
