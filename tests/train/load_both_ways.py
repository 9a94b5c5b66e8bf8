"""Executed by each rank: load models whole and in shards, and compare what the rank then holds.

`python -m tests.train.load_both_ways FOLDER` under `accelerate launch`: FOLDER/cases.json has the
cases, and FOLDER/rank-N.json says of each what differs. FOLDER/peaks.json has cases of which it is
measured how much more than in the end is held on the way.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.recipe.load import load
from hpclaunch.train import distributed, model
from hpclaunch.train.loading.adapters import adapters_on_cpu
from hpclaunch.train.loading.files import deferred_load
from hpclaunch.train.loading.hooks import load_when_sharded
from tests.train.inference_peak import peak_and_end


def main(folder: Path) -> None:
    """Run the cases; write this rank's answer."""
    import torch._dynamo
    from trl import SFTConfig

    # Of odd shapes bitsandbytes would compile what it has no kernel for, each with g++.
    torch._dynamo.config.disable = True
    context = distributed.context_from_env()
    arguments = SFTConfig(output_dir=str(folder), use_cpu=True, bf16=True, report_to=[])
    distributed.init_process_group(context, arguments)
    found = {
        name: compare(overrides)
        for name, overrides in json.loads((folder / "cases.json").read_text("utf-8")).items()
    }
    found |= {
        name: measure(overrides)
        for name, overrides in json.loads((folder / "peaks.json").read_text("utf-8")).items()
    }
    (folder / f"rank-{context.rank}.json").write_text(json.dumps(found), "utf-8")
    distributed.destroy_process_group()


def compare(overrides: list[str]) -> dict[str, Any]:
    """Return what the two ways differ in, how many parameters there are, and what was logged.

    4-bit weights are loaded once more, from what the first start kept.
    """
    whole, sharded = (held([*overrides, f"fsdp.loading={way}"]) for way in ("whole", "auto"))
    found = {
        "overrides": overrides,
        "different": different(sharded["parts"], whole["parts"]),
        "parameters": len(sharded["parts"]),
        "log": sharded["log"],
        "deferred": sharded["deferred"],
        "optimized": sharded["optimized"] == whole["optimized"] > 0,
    }
    if "method.kind=qlora" in overrides and sharded["deferred"]:
        again = held([*overrides, "fsdp.loading=auto"])
        found |= {
            "different_again": different(again["parts"], whole["parts"]),
            "log_again": again["log"],
        }
    return found


def measure(overrides: list[str]) -> dict[str, Any]:
    """Return what PyTorch's allocator holds while a model is loaded, at most and in the end.

    What is held at a time by design is made as small beside the model as it is for a large one.
    """
    from hpclaunch.train.loading import four_bit, kept_files

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(four_bit.PIECE, "cpu", 2**12)
        patch.setattr(kept_files, "PIECE_BYTES", 2**13)
        return {"overrides": overrides, **held(overrides, measured=True)["memory"]}


def different(parts: dict[str, Any], others: dict[str, Any]) -> list[str]:
    """Return the names of tensors that are not the same bit for bit."""
    import torch

    return sorted(
        name
        for name in parts.keys() | others.keys()
        if name not in parts
        or name not in others
        or parts[name].dtype != others[name].dtype
        or not torch.equal(bits(parts[name]), bits(others[name]))
    )


def held(overrides: list[str], *, measured: bool = False) -> dict[str, Any]:
    """Return this rank's parts of a model's parameters and buffers, sharded as for a training."""
    import torch
    from accelerate import Accelerator
    from peft import get_peft_model
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
    from torch.profiler import ProfilerActivity, profile

    recipe = load("tiny", overrides)
    torch.manual_seed(3)
    lines: list[str] = []
    where = model.source(recipe.model)
    loaded = model.load_model(recipe, where, "sdpa", 10, 2, lines.append)
    deferred = deferred_load(loaded) is not None
    adapter = model.lora_config(recipe, loaded, [], 2)
    with adapters_on_cpu(loaded):
        trained = loaded if adapter is None else get_peft_model(loaded, adapter)
    load_when_sharded(trained, lines.append)
    optimizer = torch.optim.AdamW(each for each in trained.parameters() if each.requires_grad)
    accelerator = Accelerator(mixed_precision="bf16")
    plugin = accelerator.state.fsdp_plugin
    plugin.transformer_cls_names_to_wrap = trained._no_split_modules  # not those of the case before
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    gc.collect()  # or what the case before held ends in between
    memory = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with memory if measured else nullcontext():
        trained, optimizer = accelerator.prepare(trained, optimizer)
    tensors = {**dict(trained.named_parameters()), **dict(trained.named_buffers())}
    tensors |= dict(scales(trained))
    mine = {id(each) for group in optimizer.param_groups for each in group["params"]}
    return {
        "parts": {name: local(tensor).clone() for name, tensor in tensors.items()},
        "log": lines,
        "deferred": deferred,
        "memory": dict(zip(("peak", "end"), peak_and_end(memory), strict=True)) if measured else {},
        "optimized": sum(id(each) in mine for each in trained.parameters()),
    }


def scales(trained: Any) -> Iterator[tuple[str, Any]]:
    """Yield what dequantizes the 4-bit weights."""
    for name, module in trained.named_modules():
        state = getattr(module, "quant_state", None)
        if state is not None:
            yield f"{name}.absmax", state.absmax
            yield f"{name}.code", state.code
            if state.nested:
                yield f"{name}.offset", state.offset
                yield f"{name}.state2.absmax", state.state2.absmax
                yield f"{name}.state2.code", state.state2.code


def bits(tensor: Any) -> Any:
    """Return a tensor's bytes: codes in 4 bits, read as numbers, may be NaN and equal nothing."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8)


def local(tensor: Any) -> Any:
    """Return this rank's part of a tensor."""
    detached = tensor.detach()
    return detached.to_local() if hasattr(detached, "to_local") else detached


if __name__ == "__main__":
    main(Path(sys.argv[1]))
