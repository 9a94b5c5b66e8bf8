"""Simulates a step's memory in a process of its own, because that needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.forecast.forecast import Forecast, PredictionRequest
from hpclaunch.predict.compare import candidate_of
from hpclaunch.predict.estimate import SAFE, usable
from hpclaunch.predict.from_recipe import seq_len_of
from hpclaunch.predict.memory import ALLOCATOR, COLLECTIVES, CONTEXT
from hpclaunch.predict.sharding import shards_and_replicas
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import check_gpu_type, gpus


@dataclass(frozen=True)
class Simulated:
    """A step that was simulated, and the model that was built for it."""

    tensor_bytes: int
    """Bytes of tensors at the peak of a step on one GPU."""
    parameters: int
    trained: int
    """Parameters that are trained."""


@dataclass(frozen=True)
class SimulatedPlan:
    """What is known of a model whose layers no closed form counts: memory, and no time."""

    request: PredictionRequest
    simulated: Simulated
    shards: int
    """Ranks that share a copy."""
    usable_bytes: int | None
    """Memory of the GPU that programs get; None: the GPU type is not known."""

    @property
    def total_bytes(self) -> int:
        """Bytes that the GPU shows as used: tensors, the allocator's reserve, CUDA and NCCL."""
        more = CONTEXT + (COLLECTIVES if self.shards > 1 else 0)
        return int(self.simulated.tensor_bytes * (1 + ALLOCATOR) + more)

    @property
    def fits(self) -> bool | None:
        """Whether samples of full length fit; None where the GPU is not known."""
        if self.usable_bytes is None:
            return None
        return self.total_bytes <= SAFE * self.usable_bytes


def simulate(predicted: Forecast) -> Simulated:
    """Return the memory of a step on one GPU.

    Raises UserError without the training's packages, JobFailed where the model cannot be built.
    """
    load = predicted.estimate.training
    return _run(predicted.config, predicted.request.recipe, load.sharding, load.shards)


def simulate_uncounted(request: PredictionRequest, config: Mapping[str, Any]) -> SimulatedPlan:
    """Return the memory of a model whose layers no closed form counts. Raises as `simulate`."""
    name = request.gpu
    if name is None and len(request.site.gpus) == 1:
        (name,) = request.site.gpus
    if name is not None:
        check_gpu_type(name)
    sharding = candidate_of(request.recipe).sharding
    shards, _ = shards_and_replicas(sharding, request.nodes, request.gpus_per_node)
    how = "full" if sharding == "hybrid" else sharding
    simulated = _run(config, request.recipe, how, shards)
    room = None if name is None else usable(gpus()[name])
    return SimulatedPlan(request, simulated, shards, room)


def _run(config: Mapping[str, Any], recipe: Recipe, sharding: str, shards: int) -> Simulated:
    lora = recipe.method.lora
    request = {
        "config": dict(config),
        "method": recipe.method.kind,
        "lora": {
            "r": lora.r,
            "target_modules": lora.target_modules,
            "exclude_modules": lora.exclude_modules,
        },
        "double_quant": recipe.method.quantization.double,
        "sharding": sharding,
        "shards": shards,
        "micro_batch_size": int(recipe.training["per_device_train_batch_size"]),
        "seq_len": seq_len_of(recipe),
        "activation_checkpointing": bool(recipe.training["gradient_checkpointing"]),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hpclaunch.train.simulation.simulate"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        answer = json.loads(done.stdout.splitlines()[-1])
        return Simulated(answer["bytes"]["Total"], answer["parameters"], answer["trained"])
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if "No module named" in last:
        raise UserError(f"--exact: {last}", "pip install 'hpclaunch[train]'")
    raise JobFailed(f"the step cannot be simulated: {last}", 1)
