"""Simulates a step's memory in a process of its own, because that needs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.forecast.forecast import Forecast, PredictionRequest
from hpclaunch.frozen import frozen
from hpclaunch.plan.neuron import refuse_neuron
from hpclaunch.predict.compare import candidate_of
from hpclaunch.predict.estimate import SAFE, usable
from hpclaunch.predict.from_recipe import seq_len_of
from hpclaunch.predict.fused import adapters_are_fused
from hpclaunch.predict.memory import ALLOCATOR, COLLECTIVES, CONTEXT
from hpclaunch.predict.objective import objective_work
from hpclaunch.predict.optimizer import optimizer_of
from hpclaunch.predict.sharding import shards_and_replicas
from hpclaunch.recipe.attention import attention_mask
from hpclaunch.recipe.schema import Recipe
from hpclaunch.recipe.zero import under_deepspeed
from hpclaunch.site.load import check_gpu_type, gpus

PROGRESS = "progress: "
"""What a line begins with that says which share of the work is done, from 0 to 1."""

REFUSED = "refused: "
"""What a line begins with that says what of the model a library does not take."""

UNSUPPORTED = "unsupported: "
"""What a line begins with that says why a step cannot be simulated, though the job might run."""

_OTHERWISE = {
    "activations cannot be checkpointed": "training.gradient_checkpointing=false",
    "FSDP cannot shard it": "--sharding none, where a GPU holds the model",
}
"""What trains a model all the same, by what its refusal begins with."""

_UNSHARDED = "--sharding none, where a GPU holds the model: no FSDP casts its weights there"
"""What may train a model whose own code fails under FSDP (xLSTM mixes types of numbers)."""

OnProgress = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


@frozen
class Simulated:
    """A step that was simulated, and the model that was built for it."""

    tensor_bytes: int
    """Bytes of tensors at the peak of a step on one GPU."""
    parameters: int
    trained: int
    """Parameters that are trained."""


@frozen
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


def simulate(predicted: Forecast, on_progress: OnProgress) -> Simulated:
    """Return the memory of a step on one GPU.

    Raises UserError without the training's packages, and for what they do not take; JobFailed where
    the step cannot be simulated.
    """
    load = predicted.estimate.training
    recipe = predicted.request.recipe
    return _run(predicted.config, recipe, load.sharding, load.shards, on_progress)


def simulate_uncounted(
    request: PredictionRequest, config: Mapping[str, Any], on_progress: OnProgress
) -> SimulatedPlan:
    """Return the memory of a model whose layers no closed form counts. Raises as `simulate`."""
    name = request.gpu
    if name is None and len(request.site.gpus) == 1:
        (name,) = request.site.gpus
    if name is not None:
        check_gpu_type(name)
        refuse_neuron(name)
    sharding = candidate_of(request.recipe).sharding
    shards, _ = shards_and_replicas(sharding, request.nodes, request.gpus_per_node)
    how = "full" if sharding == "hybrid" else sharding
    simulated = _run(config, request.recipe, how, shards, on_progress)
    room = None if name is None else usable(gpus()[name])
    return SimulatedPlan(request, simulated, shards, room)


def _run(
    config: Mapping[str, Any], recipe: Recipe, sharding: str, shards: int, on_progress: OnProgress
) -> Simulated:
    if recipe.fsdp.context_parallel > 1:
        raise UserError(
            "--exact simulates whole sequences, and fsdp.context_parallel is "
            f"{recipe.fsdp.context_parallel}",
            "leave --exact out",
        )
    if under_deepspeed(recipe):
        raise UserError("--exact simulates a step under FSDP", "leave --exact out")
    work = objective_work(recipe)
    if work.reference_copy or work.scores:
        what = "a head of one number" if work.scores else "a second copy as reference model"
        raise UserError(
            f"--exact simulates a model with its own output head, and objective {recipe.objective} "
            f"has {what}",
            "leave --exact out",
        )
    optimizer = optimizer_of(recipe)
    if not optimizer.known:
        raise UserError(
            f"--exact: what training.optim={recipe.training.get('optim')} holds for a parameter "
            "is not known",
            "leave --exact out",
        )
    lora = recipe.method.lora
    sequences = int(recipe.training["per_device_train_batch_size"]) * work.sequences
    mask = attention_mask(recipe, config, seq_len_of(recipe))
    request = {
        "config": dict(config),
        "method": recipe.method.kind,
        "lora": {
            "r": lora.r,
            "target_modules": lora.target_modules,
            "exclude_modules": lora.exclude_modules,
        },
        "double_quant": recipe.method.quantization.double,
        "adapter_dtype": recipe.method.quantization.adapter_dtype,
        "optimizer_bytes": optimizer.state_bytes,
        "sharding": sharding,
        "shards": shards,
        "micro_batch_size": sequences,
        "seq_len": seq_len_of(recipe),
        "activation_checkpointing": bool(recipe.training["gradient_checkpointing"]),
        "every_n_layers": recipe.performance.every_n_layers,
        "fused_lora": adapters_are_fused(recipe),
        "recomputed_mlps": recipe.performance.activation_checkpointing == "mlp",
        "attention": recipe.model.attention,
        "mask": mask == "always" or (mask == "padded" and sequences > 1),
    }
    code, output, errors = _started(json.dumps(request), on_progress)
    if code == 0:
        answer = json.loads(output.splitlines()[-1])
        return Simulated(answer["bytes"]["Total"], answer["parameters"], answer["trained"])
    last = (errors or ["it said nothing"])[-1]
    if "No module named" in last:
        raise UserError(f"--exact: {last}", "pip install 'hpclaunch[train]'")
    if last.startswith(REFUSED):
        reason = last.removeprefix(REFUSED)
        otherwise = next((fix for what, fix in _OTHERWISE.items() if reason.startswith(what)), None)
        if otherwise is None and sharding != "none" and "forward pass" in reason:
            otherwise = _UNSHARDED
        raise UserError(
            f"{recipe.model.name} cannot be trained so: {reason}",
            f"the job would fail of it, too: {otherwise or 'change that, or name another model'}",
        )
    if last.startswith(UNSUPPORTED):
        raise UserError(
            f"--exact cannot simulate {recipe.model.name}: {last.removeprefix(UNSUPPORTED)}",
            "try a few steps of the job: training.max_steps=5",
        )
    raise JobFailed(f"the step cannot be simulated: {last}", 1)


def _started(request: str, on_progress: OnProgress) -> tuple[int, str, list[str]]:
    """Run the simulation; return its exit code, its output and its lines of errors."""
    errors: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "hpclaunch.train.simulation.simulate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # It computes nothing: threads would only wait for work, on the cores of others.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - for mypy
        with suppress(BrokenPipeError), process.stdin as stream:
            stream.write(request)
        for line in process.stderr:
            if line.startswith(PROGRESS):
                with suppress(ValueError):
                    on_progress(float(line.removeprefix(PROGRESS)))
            elif line.strip():
                errors.append(line.strip())
        output = process.stdout.read()
    return process.returncode, output, errors
