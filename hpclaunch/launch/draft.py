"""A Request to a Job: reads the machine and the cluster, then plans and renders. Writes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import hpclaunch
from hpclaunch.errors import UserError
from hpclaunch.forecast.auto import resolve_auto
from hpclaunch.forecast.forecast import PredictionRequest
from hpclaunch.forecast.hub_access import check_access
from hpclaunch.launch.local_devices import local_cpus, local_gpus
from hpclaunch.launch.request import Request, from_environment
from hpclaunch.plan.plan import CPUS_PER_PROCESS, make_plan
from hpclaunch.plan.resources import Launch, PythonEnvironment, Resources
from hpclaunch.recipe import library
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.job import Job, render_job
from hpclaunch.run.find import default_runs_dir, next_name
from hpclaunch.site.load import GENERIC, load_site, site_for_cluster
from hpclaunch.site.schema import GpuRequest, Site
from hpclaunch.slurm import commands
from hpclaunch.slurm.allocation import Allocation, current_allocation

LOCAL_PROCESSES = 2
"""CPU processes of a local run unless a number is requested: enough to shard over."""


@dataclass(frozen=True)
class _Machine:
    """What is known of where the run will be."""

    resources: Resources
    gpu_request: GpuRequest | None = None
    node_cpus: int | None = None
    node_gpus: int | None = None


def draft(request: Request, variables: Mapping[str, str] = os.environ) -> Job:
    """Return the planned and rendered job of a request. Only reads; equal requests give equal text.

    Raises UserError for whatever cannot be.
    """
    recipe = _recipe(request)
    site = load_site(request.site or site_here(request.mode))
    machine = _machine(request, site, variables)
    if request.auto_sharding or request.auto_batch:
        recipe = _with_auto(request, recipe, site, machine.resources, variables)
    runs_dir = (request.runs_dir or default_runs_dir()).absolute()
    name = request.name or next_name(runs_dir, _stem(request, recipe))
    launch = Launch(
        mode=request.mode,
        name=name,
        folder=runs_dir / name,
        cwd=Path.cwd(),
        python=_python(request.venv),
        version=hpclaunch.__version__,
        command=request.command,
        program=request.program,
        gpu_request=machine.gpu_request,
        node_cpus=machine.node_cpus,
        node_gpus=machine.node_gpus,
        modules=request.modules,
    )
    return render_job(make_plan(recipe, site, machine.resources, launch))


def check_model_access(job: Job, variables: Mapping[str, str] = os.environ) -> None:
    """Refuse a model that the job could not read. Raises UserError."""
    if job.plan.builtin_trainer:
        mode, site = job.plan.launch.mode, job.plan.site
        # What runs here, or in an allocation this shell is in, has this shell's variables.
        as_job = mode == "sbatch" or (mode == "srun" and "SLURM_JOB_ID" not in variables)
        seen = {**variables, **site.environment}
        check_access(job.plan.recipe.model, site.internet, seen, as_job)


def _recipe(request: Request) -> Recipe:
    """Load the recipe; an own program takes its sharding from it and nothing it did not ask for."""
    default = library.TINY if request.mode == "local" else library.DEFAULT
    if request.program and request.mode == "local" and request.recipe is None:
        default = library.DEFAULT if local_gpus() else library.TINY
    return load(
        request.recipe or default,
        request.overrides,
        request.changes.flags(),
        own_program=bool(request.program),
    )


def _with_auto(
    request: Request, recipe: Recipe, site: Site, resources: Resources, variables: Mapping[str, str]
) -> Recipe:
    """Return the recipe with `auto` resolved. Raises UserError where nothing can be predicted."""
    if request.program or resources.cpu_processes:
        raise UserError(
            "auto predicts the built-in trainer on GPUs", "name the sharding, and leave --batch out"
        )
    to_predict = PredictionRequest(
        recipe, site, resources.node_count, resources.gpus or 1, resources.gpu
    )
    chosen = {"sharding": request.auto_sharding, "batch": request.auto_batch}
    return resolve_auto(to_predict, variables, **chosen)


def _stem(request: Request, recipe: Recipe) -> str:
    """Return what a run without a name is named after: the program, else the recipe."""
    if not request.program:
        return recipe.name
    first = request.program[0] if request.program[0] != "-m" else " ".join(request.program[1:2])
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(first).stem)
    return stem.lstrip("._-")[:80] or "run"


def site_here(mode: str) -> str:
    """Return the profile of the cluster we are on."""
    return GENERIC if mode == "local" else site_for_cluster(commands.cluster_name())


def _python(venv: Path | None) -> PythonEnvironment:
    """Return the job's Python environment. Raises UserError where there is none."""
    path = (venv.expanduser().absolute()) if venv else Path(sys.prefix)
    if not (path / "bin" / "python").exists() and not (path / "bin" / "python3").exists():
        raise UserError(f"--venv {path}: no Python environment there", f"python -m venv {path}")
    return PythonEnvironment(path, "venv" if (path / "bin" / "activate").is_file() else "prefix")


def _machine(request: Request, site: Site, variables: Mapping[str, str]) -> _Machine:
    """Return what is known of where the run will be: this machine, this allocation, the cluster."""
    requested = request.resources
    if request.mode == "local":
        return _this_machine(requested)
    if request.mode == "srun" and (allocation := current_allocation(variables)):
        return _in_allocation(requested, allocation)
    requested = from_environment(requested, request.mode, variables)
    partition = requested.partition or site.partition
    if requested.cpu_processes:
        return _Machine(_cores_of_smallest_node(requested, site, partition))
    if site.gpus or not commands.available():
        return _Machine(requested)
    from hpclaunch.slurm.discover import discover, node_types

    discovery = discover(requested.gpu, node_types(), partition)
    if discovery is None:
        return _Machine(requested)
    if requested.gpus and requested.gpus > discovery.most_gpus:
        where = f"partition {partition}" if partition else "this cluster"
        raise UserError(
            f"--gpus {requested.gpus}: a node of {where} has {discovery.most_gpus}",
            f"use --gpus {discovery.most_gpus} and more --nodes",
        )
    return _Machine(requested, discovery.request, discovery.node_cpus, discovery.node_gpus)


def _cores_of_smallest_node(requested: Resources, site: Site, partition: str | None) -> Resources:
    """Request no more cores than the smallest node has, unless a number was requested."""
    wanted = CPUS_PER_PROCESS * (requested.cpu_processes or 1)
    if requested.cpus or site.cpus_per_gpu or not commands.available():
        return requested
    from hpclaunch.slurm.discover import node_types, smallest

    there = smallest(node_types(), partition)
    return replace(requested, cpus=there) if there and there < wanted else requested


def _this_machine(requested: Resources) -> _Machine:
    """Use this machine's GPUs, or its CPUs where it has none."""
    cpus = local_cpus()
    if not requested.cpu_processes:
        there = local_gpus()
        if requested.gpus and requested.gpus > there:
            raise UserError(
                f"--gpus {requested.gpus}: this machine has {there}",
                f"use --gpus {there}" if there else "use --cpu-processes 2",
            )
        if there:
            requested = replace(requested, gpus=requested.gpus or there)
        else:
            requested = replace(requested, cpu_processes=LOCAL_PROCESSES)
    per_node = requested.cpu_processes or requested.gpus or 1
    return _Machine(requested, node_cpus=cpus, node_gpus=per_node)


def _in_allocation(requested: Resources, allocation: Allocation) -> _Machine:
    """Use the allocation as it is, on all its nodes."""
    if requested.nodes not in {None, allocation.nodes}:
        raise UserError(
            f"--nodes {requested.nodes}: this allocation (job {allocation.job_id}) has "
            f"{allocation.nodes}",
            "leave --nodes out: all of its nodes are used",
        )
    gpus = requested.gpus or allocation.gpus
    if not requested.cpu_processes:
        if not gpus:
            raise UserError(
                f"this allocation (job {allocation.job_id}) holds no GPUs",
                "allocate some, or use --cpu-processes N",
            )
        if allocation.gpus and gpus > allocation.gpus:
            raise UserError(
                f"--gpus {gpus}: this allocation (job {allocation.job_id}) has {allocation.gpus} "
                "a node",
                "leave --gpus out: all of them are used",
            )
    resources = replace(
        requested,
        nodes=allocation.nodes,
        gpus=None if requested.cpu_processes else gpus,
        cpus=min(requested.cpus or allocation.cpus or 1, allocation.cpus or requested.cpus or 1),
    )
    return _Machine(resources, GpuRequest(), allocation.cpus, allocation.gpus)
