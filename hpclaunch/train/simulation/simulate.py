"""`python -m hpclaunch.train.simulation.simulate`: a training step's peak memory, without a GPU.

Reads a request as JSON from stdin and writes the result as JSON to stdout. The model is built
from its config on the meta device, adapted by PEFT, sharded by accelerate's own code and stepped
twice over tensors that have a shape and no values, while PyTorch's FSDP memory tracker counts what
a GPU would hold. The output head runs TRL's fused loss with what its kernels allocate on a GPU.

A step's peak grows by the same amount with each further layer, so two models of few layers give
the one of many.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from hpclaunch.train.process import hide_bitsandbytes, run_program
from hpclaunch.train.towers import freeze_towers, remove_towers, without_towers

FEW_LAYERS, MORE_LAYERS = 16, 20
"""Layers of the two models that are simulated: enough that the peak lies where it does in a whole
one, in the layers' work or at the head."""

ALIKE = 0.01
"""Share of its parameters by which a model may differ from what two shallower ones say of it."""


def simulate(request: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes by part at the peak of a step; `parameters` and how many are `trained`.

    `config`: a config.json; `method`: full, lora, qlora; `lora`: PEFT's fields; `shards`: ranks
    that share a copy; `micro_batch_size`, `seq_len` (tokens); `sharding`: full, grad, none;
    `activation_checkpointing`; `double_quant`; `fused_lora` and `recomputed_mlps`, of adapters on
    weights in 16 bits. `layers`: how many to simulate,
    instead of the two numbers that give the whole model.
    """
    if request.get("layers"):
        return {"bytes": _step(request, int(request["layers"]))}
    parameters, trained = count(request)
    depth = _depth(dict(request["config"]))
    if depth <= MORE_LAYERS or not _alike(request):
        held = _step(request, depth)
    else:
        held = _deeper(_step(request, FEW_LAYERS), _step(request, MORE_LAYERS), depth)
    return {"bytes": held, "parameters": parameters, "trained": trained}


def _deeper(few: dict[str, int], more: dict[str, int], depth: int) -> dict[str, int]:
    """Return the bytes of a model of `depth` layers from those of two shallower ones."""
    return {
        part: more.get(part, 0)
        + (more.get(part, 0) - few.get(part, 0))
        * (depth - MORE_LAYERS)
        // (MORE_LAYERS - FEW_LAYERS)
        for part in {*few, *more}
    }


def _alike(request: dict[str, Any]) -> bool:
    """Whether the model can be cut, and is as large as its layers cut to few say."""
    try:
        few, more = count(request, FEW_LAYERS), count(request, MORE_LAYERS)
    except Exception:
        return False  # some families share what layers hold, and cannot be cut anywhere
    whole = count(request)
    depth = _depth(dict(request["config"]))
    slope = (more[0] - few[0]) / (MORE_LAYERS - FEW_LAYERS)
    return abs(more[0] + slope * (depth - MORE_LAYERS) - whole[0]) <= ALIKE * whole[0]


def count(request: dict[str, Any], layers: int | None = None) -> tuple[int, int]:
    """Return the parameters of the model, and those that are trained.

    `layers`: of the model cut to so many.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**request["config"])
    if layers is not None:
        _cut(config.get_text_config(), layers)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        towers = freeze_towers(model)
        total = sum(int(each.numel()) for each in model.parameters())
        if request["method"] != "full":
            fields = {"target_modules": "all-linear", **request.get("lora", {})}
            fields["exclude_modules"] = without_towers(fields.get("exclude_modules"), towers)
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
    trained = (int(each.numel()) for each in model.parameters() if each.requires_grad)
    return total, sum(trained)


def _depth(config: dict[str, Any]) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.for_model(**config).get_text_config().num_hidden_layers)


def _step(request: dict[str, Any], layers: int) -> dict[str, int]:
    """Simulate two steps of the model cut to `layers`; bytes by part at the peak of the second."""
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

    from hpclaunch.train.simulation.stand_ins import FusedAdam, PlainTracker

    with sharded_model(request, layers) as model:
        optimizer = FusedAdam([each for each in model.parameters() if each.requires_grad])
        if request["sharding"] == "none":
            tracker = PlainTracker()
            tracker.track_external(model, optimizer)
        else:
            tracker = FSDPMemTracker(model, optimizer)
            tracker.track_inputs(())
        with tracker:
            for _ in range(2):  # from the second on the optimizer's state is there
                _train(model, optimizer, request)
                tracker.reset_mod_stats()
        (peak,) = tracker.get_tracker_snapshot("peak").values()
        tower = model.tower_bytes // int(request["shards"])
    parts = {str(getattr(part, "value", part)): int(size) for part, size in peak.items() if size}
    return {**parts, "Total": parts["Total"] + tower}


@contextlib.contextmanager
def sharded_model(request: dict[str, Any], layers: int) -> Iterator[Any]:
    """Return the model cut to `layers` and sharded, and let tensors have no values meanwhile.

    `request` as `simulate` takes it.
    """
    import torch.distributed as dist
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    shards = int(request["shards"])
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=shards)
    try:
        mesh = init_device_mesh("cpu", (shards,), mesh_dim_names=("dp_shard",))
        model = _model(request, layers)
        with FakeTensorMode(), _as_on_a_gpu():
            _materialize(model)
            if request["activation_checkpointing"]:
                model.gradient_checkpointing_enable({"use_reentrant": False})
                model.enable_input_require_grads()
            model.train()
            yield model if request["sharding"] == "none" else _shard(model, request, mesh)
    finally:
        dist.destroy_process_group()


def _train(model: Any, optimizer: Any, request: dict[str, Any]) -> None:
    import torch

    shape = (int(request["micro_batch_size"]), int(request["seq_len"]))
    ids = torch.zeros(shape, dtype=torch.long)
    # FSDP's units cast for themselves; without them accelerate has autocast do it.
    with torch.autocast("cpu", torch.bfloat16, enabled=request["sharding"] == "none"):
        output = model(input_ids=ids)
    output.logits.sum().backward()  # of log-probabilities: see FusedHead
    optimizer.step()
    optimizer.zero_grad()


def _model(request: dict[str, Any], layers: int) -> Any:
    """Build the model on the meta device, with its adapter and its fused head."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.kernels import fused_lora
    from hpclaunch.train.simulation.stand_ins import FourBit, FusedHead

    config = AutoConfig.for_model(**request["config"])
    text = config.get_text_config()
    _cut(text, layers)
    config.use_cache = False
    with torch.device("meta"):
        # Weights that are trained are held in 32 bits: by accelerate, or by hpclaunch without FSDP.
        alone = request["method"] == "full" and request["sharding"] == "none"
        dtype = torch.float32 if alone else torch.bfloat16
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.get_output_embeddings().__class__ = FusedHead
        # Never run, and the tracker fails on units that nobody all-gathers.
        model.tower_bytes = remove_towers(model)
        if request["method"] != "full":
            fields = {"target_modules": "all-linear", **request.get("lora", {})}
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
            if request.get("fused_lora"):
                again = layers if request.get("recomputed_mlps") else 0
                fused_lora.fuse(model, recomputed_mlps=again)
        if request["method"] == "qlora":
            double_quant = bool(request.get("double_quant", True))
            for module in list(model.modules()):
                for name, child in list(module.named_children()):
                    # An adapter's own matrices lie in a dictionary; the head is no plain Linear.
                    if type(child) is torch.nn.Linear and not isinstance(
                        module, torch.nn.ModuleDict
                    ):
                        setattr(module, name, FourBit(child, double=double_quant))
    return model


def _cut(config: Any, layers: int) -> None:
    """Leave the first layers of a text model's config."""
    kinds = getattr(config, "layer_types", None)
    config.num_hidden_layers = layers
    if kinds:
        with contextlib.suppress(AttributeError):  # of some it follows from the number of layers
            config.layer_types = kinds[:layers]


def _materialize(model: Any) -> None:
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


def _shard(model: Any, request: dict[str, Any], mesh: Any) -> Any:
    """Shard it as accelerate does, by accelerate's own function."""
    import torch
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        reshard_after_forward=request["sharding"] == "full",
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16),
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        torch_device_mesh=mesh,
        parallelism_config=SimpleNamespace(fsdp_dim_names=["dp_shard"]),
        mixed_precision="bf16",
        is_main_process=False,
        device=torch.device("cpu"),
    )
    return fsdp2_prepare_model(accelerator, model)


@contextlib.contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """Let TRL's fused loss and PyTorch's norm allocate what they do on a GPU, by one kernel each.

    Without a GPU they are computed by tensor operations with large temporaries.
    """
    from trl.kernels import chunked_logprob as head

    from hpclaunch.train.kernels import projections
    from hpclaunch.train.simulation.stand_ins import NormKernel

    kept = head._forward_tile, head._backward_tile, head._addmm_fp32
    norm = projections.rms_norm
    projections.rms_norm = NormKernel.apply
    head._forward_tile = head._backward_tile = lambda *_, **__: None
    head._addmm_fp32 = lambda *_: None
    try:
        yield
    finally:
        head._forward_tile, head._backward_tile, head._addmm_fp32 = kept
        projections.rms_norm = norm


def main() -> int:
    """Simulate the request on stdin."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    hide_bitsandbytes()  # its layers have stand-ins here
    print(json.dumps(simulate(json.load(sys.stdin))))
    return 0


if __name__ == "__main__":
    run_program(main)
