"""What a fine-tune will take, before anything is written: reads the model's config and the data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.forecast.measurements import Saving, known_of, saving_at
from hpclaunch.forecast.model_config import model_config
from hpclaunch.plan.plan import Plan
from hpclaunch.predict.architecture import Architecture, architecture
from hpclaunch.predict.compare import Layout, laid_out, layout_of
from hpclaunch.predict.estimate import Estimate, Work, estimate, load_of, work_of
from hpclaunch.predict.hardware import OFFLOADED, Basis, hardware_of
from hpclaunch.predict.kernels import EXPERTS
from hpclaunch.predict.memory import TrainingStep
from hpclaunch.predict.step_time import Hardware
from hpclaunch.recipe.load import is_local
from hpclaunch.recipe.rows import files_of
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Gpu, Site

COUNTED = 500_000_000
"""Bytes of local data up to which its lines are counted."""


@dataclass(frozen=True)
class Question:
    """What is to be predicted."""

    recipe: Recipe
    site: Site
    nodes: int
    per_node: int
    """GPUs of a node."""
    gpu: str | None = None
    network_gb_s: float | None = None
    """Between nodes, where the user says."""


@dataclass(frozen=True)
class Forecast:
    """The answer, and what it was made from."""

    question: Question
    model: Architecture
    config: dict[str, Any]
    """The model's config.json."""
    origin: str
    """Where it comes from."""
    load: TrainingStep
    now: Layout
    """The recipe's own layout."""
    work: Work
    card: Gpu | None
    machine: Hardware | None
    estimate: Estimate
    basis: Basis
    unknown: tuple[str, ...]
    """What is not known, and what would make it known."""
    saving: Saving | None
    """How fast checkpoints of such a size are written here; None: no run has saved one yet."""

    @property
    def checkpoint_seconds(self) -> float | None:
        """Of writing one checkpoint; None where that is not known."""
        if self.saving is None:
            return None
        return self.estimate.checkpoint / (self.saving.gb_s * 1e9)


def forecast(question: Question, environment: Mapping[str, str], *, ask_hub: bool) -> Forecast:
    """Return the memory, the time and the disk that a fine-tune will take.

    Raises UserError where the model's shape cannot be had, or the GPU kind is none.
    """
    recipe, site = question.recipe, question.site
    config, origin = model_config(recipe.model, environment, ask_hub=ask_hub)
    if config is None:
        raise UserError(
            f"nothing is known of the model's size: {origin}",
            f"fetch it: hf download {recipe.model.name} config.json",
        )
    model = architecture(config, recipe.model.name)
    kind, card, unknown = _card(question)
    machine: Hardware | None = None
    basis = Basis()
    if card is not None and kind is not None:
        known = known_of(site.name, kind, recipe, model)
        machine, basis = hardware_of(
            site, card, question.nodes, question.per_node, question.network_gb_s, known
        )
    now = layout_of(recipe)
    base = load_of(recipe, model)
    load, replicas = laid_out(base, now, question.nodes, question.per_node)
    if load.offload:
        basis = replace(basis, assumed=(*basis.assumed, OFFLOADED))
    if model.stacked and machine is not None:
        basis = replace(basis, assumed=(*basis.assumed, EXPERTS))
    work = work_of(recipe, question.nodes * question.per_node, _samples(recipe))
    made = estimate(load, replicas, work, card, machine)
    if made.steps is None:
        unknown.append(
            "how many samples there are, so how long it takes: set data.limit or training.max_steps"
        )
    if made.step is not None and made.step.communication is None:
        unknown.append("the network between nodes: tell it by --network 200gb, or in the profile")
    return Forecast(
        question,
        model,
        config,
        origin,
        base,
        now,
        work,
        card,
        machine,
        made,
        basis,
        tuple(unknown),
        saving_at(site.name, made.checkpoint),
    )


def predict(plan: Plan, environment: Mapping[str, str] = os.environ) -> Forecast | None:
    """Return the forecast of a planned job, None on CPUs and for an own program.

    The hub is not asked. Raises UserError as forecast does.
    """
    if plan.device != "gpu" or not plan.builtin_trainer:
        return None
    per_node, gpu = plan.processes_per_node, plan.resources.gpu
    question = Question(plan.recipe, plan.site, plan.nodes, per_node, gpu)
    return forecast(question, environment, ask_hub=False)


def _card(question: Question) -> tuple[str | None, Gpu | None, list[str]]:
    """Return the GPU and its kind: as asked, or the only one that the site has."""
    kinds, name = gpus(), question.gpu
    if name is None and len(question.site.gpus) == 1:
        (name,) = question.site.gpus
    if name is None:
        return None, None, ["the GPU: tell its kind by --gpu"]
    if name not in kinds:
        raise UserError(f"--gpu {name}: no such kind", f"{nearest(name, kinds)}")
    return name, kinds[name], []


def _samples(recipe: Recipe) -> int | None:
    """Count the samples of local jsonl data; None where that is not known yet."""
    if not is_local(recipe.data.name):
        return None
    try:
        files = files_of(Path(recipe.data.name))
        if any(file.suffix != ".jsonl" for file in files):
            return None
        if sum(file.stat().st_size for file in files) > COUNTED:
            return None
        return sum(_lines(file) for file in files)
    except (OSError, UserError):
        return None


def _lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(1 for line in stream if line.strip())
