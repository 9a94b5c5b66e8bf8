"""What a fine-tune will take, before anything is written: reads the model's config and the data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.forecast.measurements import CheckpointRate, checkpoint_rate_at, measured_hardware
from hpclaunch.forecast.model_config import beyond_positions, model_config
from hpclaunch.forecast.packed_rows import rows_of
from hpclaunch.frozen import frozen
from hpclaunch.plan.levers import check_machine
from hpclaunch.plan.neuron import refuse_neuron
from hpclaunch.plan.node_memory import granted_bytes, site_memory_bytes
from hpclaunch.plan.plan import Plan
from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.compare import Candidate, candidate_of, with_candidate
from hpclaunch.predict.estimate import Estimate, Workload, estimate
from hpclaunch.predict.families import architecture
from hpclaunch.predict.from_recipe import check_targets, training_step_of, workload_of
from hpclaunch.predict.hardware import Basis, MeasuredHardware, hardware_of, offload_basis
from hpclaunch.predict.kernels import EXPERTS
from hpclaunch.predict.objective import unknown_of_generation
from hpclaunch.predict.optimizer import unknown_optimizer
from hpclaunch.predict.step_time import Hardware
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.recipe.attention import attention_mask
from hpclaunch.recipe.causal import check_causal
from hpclaunch.recipe.levers import not_predicted
from hpclaunch.recipe.parallel import check_groups, check_model, not_tried
from hpclaunch.recipe.paths import is_here, is_local
from hpclaunch.recipe.quantized import check_quantized
from hpclaunch.recipe.schema import Data, Model, Recipe
from hpclaunch.recipe.zero import check_zero_model, unknown_under_zero
from hpclaunch.site.load import check_gpu_type, gpus
from hpclaunch.site.schema import GpuType, Site


@frozen
class PredictionRequest:
    """What is to be predicted: a recipe on so many nodes."""

    recipe: Recipe
    site: Site
    nodes: int
    gpus_per_node: int
    gpu: str | None = None
    network_gb_s: float | None = None
    """Between nodes, in GB/s, where the user gives it."""
    node_memory_bytes: int | None = None
    """What a job gets of a node's memory; None: what the site says, for its share of the GPUs."""
    shape_of: str = ""
    """Hub id or folder of the model whose config counts, where the recipe's is not there yet."""
    chosen_level: bool = False
    """The recipe left its level of activation checkpointing open; what it says was chosen."""


@frozen
class Forecast:
    """The prediction, and what it was made from."""

    request: PredictionRequest
    model: Architecture
    config: dict[str, Any]
    """The model's config.json."""
    origin: str
    """Where it comes from."""
    training: TrainingStep
    """One GPU's part of a step, without sharding."""
    candidate: Candidate
    """The recipe's own layout."""
    workload: Workload
    gpu: GpuType | None
    hardware: Hardware | None
    estimate: Estimate
    basis: Basis
    unknown: tuple[str, ...]
    """What is not known, and what would make it known."""
    checkpoint_rate: CheckpointRate | None
    """How fast checkpoints of such a size are written here; None: no run has saved one yet."""

    @property
    def checkpoint_seconds(self) -> float | None:
        """Seconds to write one checkpoint; None where that is not known."""
        if self.checkpoint_rate is None:
            return None
        return self.estimate.checkpoint_bytes / (self.checkpoint_rate.gb_s * 1e9)


def forecast(
    request: PredictionRequest, environment: Mapping[str, str], *, ask_hub: bool
) -> Forecast:
    """Return the memory, the time and the disk that a fine-tune will take.

    Raises UserError where the model's shape cannot be had, or the GPU type is unknown.
    """
    recipe, site = request.recipe, request.site
    check_groups(recipe, recipe.fsdp.sharding, request.nodes, request.gpus_per_node)
    shape = Model(name=request.shape_of) if request.shape_of else recipe.model
    config, origin = model_config(shape, environment, ask_hub=ask_hub)
    if config is None:
        fix = "" if is_local(shape.name) else f"fetch it: hpclaunch fetch {shape.name}"
        raise UserError(f"nothing is known of the model's size: {origin}", fix)
    check_model(recipe, config)
    check_zero_model(recipe, config)
    # What an earlier stage of a chain trained or merged is in 16 bits.
    check_quantized(recipe, {} if request.shape_of else config)
    if not recipe.objective_spec.scores:
        check_causal(config, recipe.model.name)
    model = architecture(config, recipe.model.name)
    check_targets(recipe, config)
    kind, gpu, unknown = _gpu(request)
    if kind is not None:
        check_machine(recipe, kind, "gpu")
    hardware: Hardware | None = None
    basis = Basis()
    known = MeasuredHardware()
    if gpu is not None and kind is not None:
        known = measured_hardware(site.name, kind, recipe, model)
        hardware, basis = hardware_of(
            site,
            gpu,
            request.nodes,
            request.gpus_per_node,
            request.network_gb_s,
            known,
            request.node_memory_bytes or site_memory_bytes(site, kind, request.gpus_per_node),
        )
    own = candidate_of(recipe)
    base = training_step_of(recipe, model)
    mask = attention_mask(recipe, config, base.part_len)
    base = replace(base, converted=_converted(config, recipe), mask=mask)
    training, replicas = with_candidate(base, own, request.nodes, request.gpus_per_node)
    if training.offload and hardware is not None:
        rests = offload_basis(hardware.host, known.host)
        basis = Basis((*basis.assumed, *rests.assumed), (*basis.measured, *rests.measured))
    if model.stacked_parameters and hardware is not None:
        basis = replace(basis, assumed=(*basis.assumed, EXPERTS))
    unknown += [*not_predicted(recipe), *not_tried(recipe), *unknown_of_generation(recipe)]
    unknown += unknown_under_zero(recipe)
    beyond = beyond_positions(config, base.seq_len)
    unknown += [] if beyond is None else [beyond]
    optimizer = unknown_optimizer(recipe)
    unknown += [] if optimizer is None else [optimizer]
    rows = rows_of(recipe, _samples(recipe.data))
    workload = workload_of(recipe, request.nodes * request.gpus_per_node, rows.number)
    if rows.assumed is not None and workload.max_steps is None and hardware is not None:
        basis = replace(basis, assumed=(*basis.assumed, rows.assumed))
    estimated = estimate(training, replicas, workload, gpu, hardware)
    if estimated.steps is None:
        unknown.append(
            "how many samples there are, so how long it takes: set data.limit or training.max_steps"
        )
    if estimated.step is not None and estimated.step.exposed_communication is None:
        unknown.append("the network between nodes: give it by --network 200gb, or in the profile")
    return Forecast(
        request,
        model,
        config,
        origin,
        base,
        own,
        workload,
        gpu,
        hardware,
        estimated,
        basis,
        tuple(unknown),
        checkpoint_rate_at(site.name, estimated.checkpoint_bytes),
    )


def predict(plan: Plan, environment: Mapping[str, str] = os.environ) -> Forecast | None:
    """Return the forecast of a planned job, None on CPUs and for an own program.

    The hub is not asked. Raises UserError as forecast does.
    """
    if plan.device != "gpu" or not plan.builtin_trainer:
        return None
    per_node, gpu = plan.processes_per_node, plan.resources.gpu
    request = PredictionRequest(
        plan.recipe,
        plan.site,
        plan.nodes,
        per_node,
        gpu,
        node_memory_bytes=granted_bytes(plan.options, plan.launch.node_memory_mib),
        chosen_level=plan.launch.chosen_level,
        shape_of=plan.launch.shape_of,
    )
    return forecast(request, environment, ask_hub=False)


def _samples(data: Data) -> int | None:
    """Return the samples of local data; None where there is none, or they are not soon counted."""
    if not data.sources and not is_here(data.name):
        return None
    from hpclaunch.dataset.count import count_samples  # readers that the hub's data do not need

    return count_samples(data)


def _gpu(request: PredictionRequest) -> tuple[str | None, GpuType | None, list[str]]:
    """Return the GPU and its type: as requested, or the only one that the site has."""
    kinds, name = gpus(), request.gpu
    if name is None and len(request.site.gpus) == 1:
        (name,) = request.site.gpus
    if name is None:
        return None, None, ["the GPU: give its type by --gpu"]
    check_gpu_type(name)
    refuse_neuron(name)
    return name, kinds[name], []


def _converted(config: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether the weights are saved in another type than they are loaded in, as far as is known."""
    text = config.get("text_config") or {}
    saved = config.get("dtype") or config.get("torch_dtype") or text.get("dtype")
    return isinstance(saved, str) and saved != recipe.model.dtype
