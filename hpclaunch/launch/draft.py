"""A Request to a Job: reads the machine and the cluster, then plans and renders. Writes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import hpclaunch
from hpclaunch.errors import UserError
from hpclaunch.forecast.auto import resolve_auto
from hpclaunch.forecast.forecast import PredictionRequest, forecast
from hpclaunch.forecast.global_batch import resolve_batch
from hpclaunch.forecast.recomputation import resolve_level
from hpclaunch.launch.default_recipe import check_default_recipe
from hpclaunch.launch.local_devices import local_gpus
from hpclaunch.launch.machine import Machine, machine_for
from hpclaunch.launch.request import Request
from hpclaunch.plan.node_memory import memory_bytes
from hpclaunch.plan.plan import make_plan
from hpclaunch.plan.resources import Launch, PythonEnvironment
from hpclaunch.recipe import library
from hpclaunch.recipe.global_batch import BATCH, divide
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job, render_job
from hpclaunch.run.find import default_runs_dir, next_name
from hpclaunch.site.load import GENERIC, load_site, site_for_cluster
from hpclaunch.site.schema import Site
from hpclaunch.slurm import commands


def draft(
    request: Request,
    variables: Mapping[str, str] = os.environ,
    *,
    machine: Machine | None = None,
) -> Job:
    """Return the planned and rendered job of a request. Only reads; equal requests give equal text.

    `machine`: what `machine_here` returned for the same resources, so that Slurm is asked once for
    many jobs. Raises UserError for whatever cannot be.
    """
    if not isinstance(request, Request):
        raise UserError(f"draft({request!r}): expected a Request")
    request.check()
    request.resources.check()
    if request.test_run and request.program:
        raise UserError(
            "--test-run is for the built-in trainer, which it stops and resumes",
            "leave it out, or the program",
        )
    cwd = request.cwd or _current_folder()
    recipe = _recipe(request)
    chosen_level = recipe.performance.activation_checkpointing == "auto"
    site = load_site(request.site or site_here(request.mode))
    machine = machine or machine_for(request, site, variables)
    if not request.program:
        recipe = _with_batch(request, recipe, site, machine, variables)
    if request.auto_sharding or request.auto_batch:
        recipe = _with_auto(request, recipe, site, machine, variables)
    if not request.program and machine.resources.gpus:
        recipe = resolve_level(_to_predict(request, recipe, site, machine), variables)
    runs_dir = (request.runs_dir or default_runs_dir()).absolute()
    numbered = "" if request.name else _stem(request, recipe)
    name = request.name or next_name(runs_dir, numbered)
    launch = Launch(
        mode=request.mode,
        name=name,
        folder=runs_dir / name,
        cwd=cwd,
        python=python_environment(request.venv),
        version=hpclaunch.__version__,
        command=request.command,
        program=request.program,
        gpu_request=machine.gpu_request,
        node_cpus=machine.node_cpus,
        node_gpus=machine.node_gpus,
        node_memory_mib=machine.node_memory_mib,
        host_memory_mib=_host_memory(request, recipe, site, machine, variables),
        chosen_level=chosen_level,
        slurm_problem=machine.slurm_problem,
        slurm_notes=machine.notes,
        modules=request.modules,
        stage=request.stage,
        part_of_allocation=machine.part_of_allocation,
        shape_of=request.shape_of,
        group=request.group,
        test_run=request.test_run,
        numbered=numbered,
    )
    plan = make_plan(recipe, site, machine.resources, launch)
    if request.recipe is None and request.mode != "local" and not request.program:
        check_default_recipe(plan)
    return render_job(plan)


def machine_here(request: Request, variables: Mapping[str, str] = os.environ) -> Machine:
    """Return what is known of where a request's job will be. Raises UserError as `draft` does."""
    request.check()
    request.resources.check()
    return machine_for(request, load_site(request.site or site_here(request.mode)), variables)


def _current_folder() -> Path:
    """Return the folder this process is in. Raises UserError where it was removed."""
    try:
        return Path.cwd()
    except OSError:
        raise UserError("the current folder is gone", "cd to another one") from None


_TEST_RUN = {"training.max_steps": 2, "checkpoints.every_steps": 1}
"""What a test run changes in the recipe: a step before the checkpoint is loaded, and one after."""


def _recipe(request: Request) -> Recipe:
    """Load the recipe; an own program takes its sharding from it and nothing it did not ask for."""
    default = library.TINY if request.mode == "local" else library.DEFAULT
    if request.program and request.mode == "local" and request.recipe is None:
        default = library.DEFAULT if local_gpus() else library.TINY
    return load(
        request.recipe or default,
        request.overrides,
        request.changes.flags(request.overrides) | (_TEST_RUN if request.test_run else {}),
        own_program=bool(request.program),
        pending=request.pending,
    )


def _with_auto(
    request: Request, recipe: Recipe, site: Site, machine: Machine, variables: Mapping[str, str]
) -> Recipe:
    """Return the recipe with `auto` resolved. Raises UserError where nothing can be predicted."""
    if request.program or machine.resources.cpu_processes:
        raise UserError(
            "auto predicts the built-in trainer on GPUs", "name the sharding, and leave --batch out"
        )
    to_predict = _to_predict(request, recipe, site, machine)
    free_batch = request.auto_batch or BATCH in recipe.follows_global_batch
    chosen = {"sharding": request.auto_sharding, "batch": free_batch}
    return resolve_auto(to_predict, variables, **chosen)


def _with_batch(
    request: Request, recipe: Recipe, site: Site, machine: Machine, variables: Mapping[str, str]
) -> Recipe:
    """Return the recipe with the batch that its global batch leaves to each rank."""
    processes = machine.resources.cpu_processes
    if processes:
        return divide(recipe, machine.resources.node_count * processes)
    return resolve_batch(_to_predict(request, recipe, site, machine), variables)


def _to_predict(
    request: Request, recipe: Recipe, site: Site, machine: Machine
) -> PredictionRequest:
    resources = machine.resources
    return PredictionRequest(
        recipe,
        site,
        resources.node_count,
        resources.gpus or 1,
        resources.gpu,
        node_memory_bytes=_node_memory(machine),
        shape_of=request.shape_of,
    )


def _node_memory(machine: Machine) -> int | None:
    """Return the bytes of a node's memory that the job will get: as asked, or its GPUs' share."""
    if machine.resources.mem:
        return memory_bytes(machine.resources.mem)
    if machine.node_memory_mib is None or not machine.node_gpus:
        return None
    share = min(1.0, (machine.resources.gpus or 1) / machine.node_gpus)
    return int(machine.node_memory_mib * share) * 2**20


def _host_memory(
    request: Request, recipe: Recipe, site: Site, machine: Machine, variables: Mapping[str, str]
) -> int | None:
    """Return what a node's ranks are predicted to take of its memory, in MiB; None: not known."""
    resources = machine.resources
    whole_node = site.mem is None and resources.gpus == machine.node_gpus
    if request.program or request.stage or not resources.gpus or resources.mem or whole_node:
        return None  # or nothing depends on it
    try:
        made = forecast(_to_predict(request, recipe, site, machine), variables, ask_hub=False)
    except UserError:
        return None  # nothing is known of the model: the plan says it
    return -(-made.estimate.host.peak // 2**20)


def _stem(request: Request, recipe: Recipe) -> str:
    """Return what a run without a name is named after: the program, else the recipe."""
    if not request.program:
        return f"{recipe.name}-test" if request.test_run else recipe.name
    first = request.program[0] if request.program[0] != "-m" else " ".join(request.program[1:2])
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(first).stem)
    return stem.lstrip("._-")[:80] or "run"


def site_here(mode: str) -> str:
    """Return the profile of the cluster we are on."""
    return GENERIC if mode == "local" else site_for_cluster(commands.cluster_name())


def python_environment(venv: Path | None) -> PythonEnvironment:
    """Return the job's Python environment. Raises UserError where there is none."""
    path = (venv.expanduser().absolute()) if venv else Path(sys.prefix)
    if not (path / "bin" / "python").exists() and not (path / "bin" / "python3").exists():
        raise UserError(f"--venv {path}: no Python environment there", f"python -m venv {path}")
    return PythonEnvironment(path, "venv" if (path / "bin" / "activate").is_file() else "prefix")
