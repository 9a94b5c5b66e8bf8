"""`python -m hpclaunch.train.simulation.simulate`: a training step's peak memory, without a GPU.

Reads a request as JSON from stdin and writes the result as JSON to stdout. The model is built
from its config on the meta device, adapted by PEFT, sharded by accelerate's own code and stepped
twice over tensors that have a shape and no values, while PyTorch's FSDP memory tracker counts what
a GPU would hold. The output head runs TRL's fused loss with what its kernels allocate on a GPU.

The peak of each phase of a step grows by the same amount with each further layer, so two models of
few layers give the one of many.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hpclaunch.train.process import hide_bitsandbytes, run_program
from hpclaunch.train.routers import left_out_of_adapters
from hpclaunch.train.simulation.depth import TOTAL, Cut, Parts, highest
from hpclaunch.train.simulation.few_layers import config_of, count, cut_config, model_cut
from hpclaunch.train.simulation.refusals import (
    REFUSED,
    UNSUPPORTED,
    RefusedModel,
    UnsupportedModel,
    in_one_line,
    refusing,
    refusing_in_a_step,
)
from hpclaunch.train.simulation.shard import shard
from hpclaunch.train.towers import remove_towers, without_adapters

PROGRESS = "progress: "
"""What a line on stderr begins with that says which share of the work is done, from 0 to 1."""
STEPS = 2
"""Steps that are simulated: from the second on, the optimizer's state and what a step leaves behind
are there."""
_PHASES_OF_A_STEP = 2
"""Phases of a layer: forward and backward."""


def simulate(request: dict[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Return the bytes by part at the peak of a step; `parameters` and how many are `trained`.

    `config`: a config.json; `method`: full, lora, qlora; `lora`: PEFT's fields; `shards`: ranks
    that share a copy; `micro_batch_size`, `seq_len` (tokens); `sharding`: full, grad, none;
    `activation_checkpointing`, of every layer or each `every_n_layers`; `double_quant` and
    `adapter_dtype`, of QLoRA; `fused_lora` and `recomputed_mlps`, of adapters on weights in 16
    bits; `attention`, which matters if it is eager, and whether it has a `mask`. `layers`: how many
    to simulate, instead of the two numbers that give the whole model. `on_progress`: called with
    the share of the work that is done.
    """
    if request.get("layers"):
        return {"bytes": _whole(request, int(request["layers"]), on_progress)}
    with refusing("it cannot be built"):
        parameters, trained = count(request)
    depth, cut = model_cut(request)
    held: Parts | None = None
    if cut is not None:
        # A config may name layers by their numbers, and not take fewer: then all are simulated.
        with contextlib.suppress(Exception):
            few, more = _steps(request, (cut.few, cut.more), cut, on_progress)
            held = highest(few, more, cut, depth)
    held = held or _whole(request, depth, on_progress)
    return {"bytes": held, "parameters": parameters, "trained": trained}


def _whole(request: dict[str, Any], depth: int, on_progress: Callable[[float], None]) -> Parts:
    """Return the bytes by part at the peak of the model cut to `depth` layers."""
    (peaks,) = _steps(request, (depth,), Cut(depth, depth, depth, 0), on_progress)
    return max(peaks.values(), key=lambda parts: parts[TOTAL])


def _steps(
    request: dict[str, Any], depths: Sequence[int], cut: Cut, on_progress: Callable[[float], None]
) -> list[dict[str, Parts]]:
    """Simulate models cut to several numbers of layers, one after the other."""
    done, all_phases = 0, _PHASES_OF_A_STEP * STEPS * sum(depths)

    def on_phase() -> None:
        nonlocal done
        # The tracker hangs hooks on the graph that refer back to it. A real step has no such
        # circles: there a layer's tensors are freed at once.
        gc.collect()
        done += 1
        on_progress(min(1.0, done / all_phases))

    return [_step(request, layers, cut, on_phase) for layers in depths]


def _step(
    request: dict[str, Any], layers: int, cut: Cut, on_phase: Callable[[], None]
) -> dict[str, Parts]:
    """Simulate the model cut to `layers`; bytes by part at the peak of each phase of a step."""
    from hpclaunch.train.simulation.peaks import PlainPhases, ShardedPhases, mark_phases
    from hpclaunch.train.simulation.stand_ins import StateHolder

    with sharded_model(request, layers) as model:
        optimizer = StateHolder(model, request.get("optimizer_bytes"))
        if request["sharding"] == "none":
            tracker: Any = PlainPhases()
            tracker.track_external(model, optimizer)
        else:
            tracker = ShardedPhases(model, optimizer)
            tracker.track_inputs(())
        with contextlib.suppress(LookupError):
            mark_phases(model, layers, cut, tracker, on_phase)
        with tracker, _only_new_garbage():
            for _ in range(STEPS):
                tracker.reset_mod_stats()
                tracker.begin_phases()
                _train(model, optimizer, request, tracker)
        tower = model.tower_bytes // int(request["shards"])
    return {
        phase: {part: int(size) for part, size in parts.items() if size}
        | {TOTAL: int(parts[TOTAL]) + tower}
        for phase, parts in tracker.peaks.items()
    }


@contextlib.contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Let Python look for garbage among what is made meanwhile: a hundredth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def sharded_model(request: dict[str, Any], layers: int) -> Iterator[Any]:
    """Return the model of a `simulate` request, of so many layers, sharded, on no values."""
    import torch.distributed as dist
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from hpclaunch.train.simulation.attention_kernel import kernel_of_a_gpu, reads_mask
    from hpclaunch.train.simulation.stand_ins import kernels_of_a_gpu

    shards = int(request["shards"])
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=shards)
    try:
        mesh = init_device_mesh("cpu", (shards,), mesh_dim_names=("dp_shard",))
        model = _model(request, layers)
        kernel = kernel_of_a_gpu(mask=bool(request.get("mask", True)) or reads_mask(model))
        with FakeTensorMode(), kernels_of_a_gpu(), kernel:
            _materialize(model)
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
            with refusing_in_a_step():
                yield model
    finally:
        dist.destroy_process_group()


def _train(model: Any, optimizer: Any, request: dict[str, Any], tracker: Any) -> None:
    import torch

    shape = (int(request["micro_batch_size"]), int(request["seq_len"]))
    ids = torch.zeros(shape, dtype=torch.long)
    # FSDP's units cast for themselves; without them accelerate has autocast do it.
    with torch.autocast("cpu", torch.bfloat16, enabled=request["sharding"] == "none"):
        output = model(input_ids=ids)
    output.logits.sum().backward()  # of log-probabilities: see FusedHead
    tracker.phase = "optimizer"
    optimizer.step()
    optimizer.zero_grad()


def _model(request: dict[str, Any], layers: int) -> Any:
    """Build the model on the meta device, with its adapter and its fused head."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from hpclaunch.train.kernels import fused_lora
    from hpclaunch.train.simulation.stand_ins import FourBit, FusedHead

    config = config_of(request)
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
                        setattr(module, name, FourBit(child, double=double_quant))
    return model


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


def main() -> int:
    """Simulate the request on stdin."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    hide_bitsandbytes()  # its layers have stand-ins here
    request = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)  # nothing is computed: others would only wait for work

    def on_progress(share: float) -> None:
        print(f"{PROGRESS}{share:.3f}", file=sys.stderr, flush=True)

    try:
        answer = simulate(request, on_progress)
    except RefusedModel as refused:
        print(f"{REFUSED}{refused}", file=sys.stderr)
        return 2
    except ModuleNotFoundError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, UnsupportedModel) else in_one_line(error)
        print(f"{UNSUPPORTED}{reason}", file=sys.stderr)
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    run_program(main)
