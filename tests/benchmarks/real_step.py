"""Real training steps of a small model on CPU ranks: whether what `--exact` refuses trains."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpclaunch.train.simulation.refusals import in_one_line

RANKS, TOKENS, STEPS, SECONDS = 2, 64, 2, 90


def answer_of(work: Callable[[], str], seconds: int = SECONDS) -> str:
    """Return what `work` returns in a process of its own; '' where that is killed, or late."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            text = work()
        except BaseException as error:
            text = f"failed: {in_one_line(error) if isinstance(error, Exception) else repr(error)}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        found = stream.read().decode()
    os.waitpid(child, 0)
    return found


def real_step(request: dict[str, Any]) -> str:
    """Train as a `simulate` request says, on two ranks; return the losses, or how it failed."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "store"))
        other = os.fork()
        if other == 0:
            answer_of(lambda: _rank(request, 1, store))
            os._exit(0)
        found = answer_of(lambda: _rank(request, 0, store))
        os.waitpid(other, 0)
    return found or f"no end within {SECONDS} s"


def _rank(request: dict[str, Any], rank: int, store: str) -> str:
    import torch
    import torch.distributed as dist
    from peft import LoraConfig, get_peft_model
    from torch.distributed.device_mesh import init_device_mesh
    from transformers import AutoModelForCausalLM

    from hpclaunch.train.routers import left_out_of_adapters
    from hpclaunch.train.simulation.few_layers import config_of
    from hpclaunch.train.simulation.shard import shard
    from hpclaunch.train.towers import freeze_towers, without_adapters

    dist.init_process_group(
        "gloo", store=dist.FileStore(store, RANKS), rank=rank, world_size=RANKS,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    torch.manual_seed(0)
    config = config_of(request)
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    towers = freeze_towers(model)
    if request["method"] == "lora":
        left_out = without_adapters(None, towers, left_out_of_adapters(model, "all-linear"))
        fields: dict[str, Any] = {"target_modules": "all-linear", "exclude_modules": left_out}
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, **fields))
    if request["activation_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    alone = request["sharding"] == "none"
    if not alone:
        model = shard(
            model, request, init_device_mesh("cpu", (RANKS,), mesh_dim_names=("dp_shard",))
        )
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2)
    losses = []
    for _ in range(STEPS):
        ids = torch.randint(3, 200, (1, TOKENS))
        with torch.autocast("cpu", torch.bfloat16, enabled=alone):
            logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return "trained, loss " + ", ".join(f"{each:.2f}" for each in losses)
