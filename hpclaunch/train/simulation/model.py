"""The model of a simulation: built without values, with its adapters and its head, and sharded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hpclaunch.train.routers import left_out_of_adapters
from hpclaunch.train.simulation.few_layers import config_of, cut_config
from hpclaunch.train.simulation.refusals import refusing, refusing_in_a_step
from hpclaunch.train.simulation.shard import shard
from hpclaunch.train.towers import remove_towers, without_adapters


@contextlib.contextmanager
def sharded_model(request: dict[str, Any], layers: int) -> Iterator[Any]:
    """Return the model of a `simulate` request, of so many layers, sharded, on no values."""
    import torch.distributed as dist
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from hpclaunch.train.simulation.attention_kernel import kernel_of_a_gpu, reads_mask
    from hpclaunch.train.simulation.stand_ins import kernels_of_a_gpu
    from hpclaunch.train.simulation.values import usual_values

    shards = int(request["shards"])
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=shards)
    try:
        mesh = init_device_mesh("cpu", (shards,), mesh_dim_names=("dp_shard",))
        model = build(request, layers)
        kernel = kernel_of_a_gpu(mask=bool(request.get("mask", True)) or reads_mask(model))
        with FakeTensorMode(), kernels_of_a_gpu(), kernel:
            materialize(model)
            if request["activation_checkpointing"]:
                with refusing("activations cannot be checkpointed"):
                    model.gradient_checkpointing_enable(
                        {"use_reentrant": False}, every_n_layers=request.get("every_n_layers", 1)
                    )
                model.enable_input_require_grads()
            model.train()
            if request["sharding"] != "none":
                with refusing("FSDP cannot shard it"):
                    model = shard(model, request, mesh)
            with refusing_in_a_step(), usual_values(model):
                yield model
    finally:
        dist.destroy_process_group()


def build(request: dict[str, Any], layers: int) -> Any:
    """Build the model on the meta device, with its adapter and its fused head.

    `layers`: how many it is cut to; 0: it is left whole.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from hpclaunch.train.kernels import fused_lora
    from hpclaunch.train.simulation.stand_ins import FusedHead, Linear4bit

    config = config_of(request)
    if layers:
        cut_config(config.get_text_config(decoder=True), layers)
    config.use_cache = False
    with torch.device("meta"):
        # Weights that are trained are held in 32 bits: by accelerate, or by hpclaunch without FSDP.
        alone = request["method"] == "full" and request["sharding"] == "none"
        options: dict[str, Any] = {"dtype": torch.float32 if alone else torch.bfloat16}
        if request.get("attention") == "eager":
            options["attn_implementation"] = "eager"
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, **options)
        model.get_output_embeddings().__class__ = FusedHead
        # Never run, and the tracker fails on units that nobody all-gathers.
        model.tower_bytes = remove_towers(model)
        if request["method"] != "full":
            fields = {"target_modules": "all-linear", **request.get("lora", {})}
            fields["exclude_modules"] = without_adapters(
                fields.get("exclude_modules"), left_out_of_adapters(model, fields["target_modules"])
            )
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
            if request.get("fused_lora"):
                again = layers if request.get("recomputed_mlps") else 0
                fused_lora.fuse(model, recomputed_mlps=again)
        if request["method"] == "qlora":
            if request.get("adapter_dtype") == "bfloat16":
                for each in model.parameters():
                    each.data = each.data.to(torch.bfloat16) if each.requires_grad else each.data
            double_quant = bool(request.get("double_quant", True))
            for module in list(model.modules()):
                for name, child in list(module.named_children()):
                    # An adapter's own matrices lie in a dictionary; the head is no plain Linear.
                    if type(child) is torch.nn.Linear and not isinstance(
                        module, torch.nn.ModuleDict
                    ):
                        setattr(module, name, Linear4bit(child, double=double_quant))
    return model


def materialize(model: Any) -> None:
    """Replace what is on the meta device by fake tensors on a device that the tracker counts."""
    import torch

    made: dict[int, Any] = {}
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                if id(value) not in made:
                    # Kept, so that its id is not given to another.
                    data = torch.empty(value.shape, dtype=value.dtype)
                    made[id(value)] = (torch.nn.Parameter(data, value.requires_grad), value)
                module._parameters[name] = made[id(value)][0]
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
