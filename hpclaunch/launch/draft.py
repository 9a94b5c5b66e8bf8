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
from hpclaunch.forecast.hub import check_access
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
"""CPU processes of a local run where nobody says: enough to shard over."""


@dataclass(frozen=True)
class _Machine:
    """What was read off the place where the run will be."""

    resources: Resources
    gpu_request: GpuRequest | None = None
    node_cpus: int | None = None
    node_gpus: int | None = None


def draft(request: Request, variables: Mapping[str, str] = os.environ) -> Job:
    """Plan and render what is asked for. Pure but for reading; the same words give the same text.

    Raises UserError for whatever cannot be.
    """
    recipe = _recipe(request)
    site = load_site(request.site or site_here(request.mode))
    machine = _machine(request, site, variables)
    if request.auto_sharding or request.auto_batch:
        recipe = _settled(request, recipe, site, machine.resources, variables)
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


def _settled(
    request: Request, recipe: Recipe, site: Site, found: Resources, variables: Mapping[str, str]
) -> Recipe:
    """Choose what was left to be chosen. Raises UserError where nothing can be predicted."""
    if request.program or found.cpu_processes:
        raise UserError(
            "auto predicts the built-in trainer on GPUs", "name the sharding, and leave --batch out"
        )
    question = PredictionRequest(recipe, site, found.node_count, found.gpus or 1, found.gpu)
    chosen = {"sharding": request.auto_sharding, "batch": request.auto_batch}
    return resolve_auto(question, variables, **chosen)


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
    """Look at the place where the run will be: this machine, this allocation, or the cluster."""
    asked = request.resources
    if request.mode == "local":
        return _here(asked)
    if request.mode == "srun" and (allocation := current_allocation(variables)):
        return _within(asked, allocation)
    asked = from_environment(asked, request.mode, variables)
    partition = asked.partition or site.partition
    if asked.cpu_processes:
        return _Machine(_cores_that_are_there(asked, site, partition))
    if site.gpus or not commands.available():
        return _Machine(asked)
    from hpclaunch.slurm.discover import discover, node_types

    found = discover(asked.gpu, node_types(), partition)
    if found is None:
        return _Machine(asked)
    if asked.gpus and asked.gpus > found.most_gpus:
        where = f"partition {partition}" if partition else "this cluster"
        raise UserError(
            f"--gpus {asked.gpus}: a node of {where} has {found.most_gpus}",
            f"use --gpus {found.most_gpus} and more --nodes",
        )
    return _Machine(asked, found.request, found.node_cpus, found.node_gpus)


def _cores_that_are_there(asked: Resources, site: Site, partition: str | None) -> Resources:
    """Ask for no more cores than the smallest node has, where nobody says how many."""
    wanted = CPUS_PER_PROCESS * (asked.cpu_processes or 1)
    if asked.cpus or site.cpus_per_gpu or not commands.available():
        return asked
    from hpclaunch.slurm.discover import node_types, smallest

    there = smallest(node_types(), partition)
    return replace(asked, cpus=there) if there and there < wanted else asked


def _here(asked: Resources) -> _Machine:
    """Take this machine's GPUs, or its CPUs where it has none."""
    cpus = local_cpus()
    if not asked.cpu_processes:
        there = local_gpus()
        if asked.gpus and asked.gpus > there:
            raise UserError(
                f"--gpus {asked.gpus}: this machine has {there}",
                f"use --gpus {there}" if there else "use --cpu-processes 2",
            )
        if there:
            asked = replace(asked, gpus=asked.gpus or there)
        else:
            asked = replace(asked, cpu_processes=LOCAL_PROCESSES)
    per_node = asked.cpu_processes or asked.gpus or 1
    return _Machine(asked, node_cpus=cpus, node_gpus=per_node)


def _within(asked: Resources, allocation: Allocation) -> _Machine:
    """Take the allocation as it is, on all its nodes."""
    if asked.nodes not in {None, allocation.nodes}:
        raise UserError(
            f"--nodes {asked.nodes}: this allocation (job {allocation.job_id}) has "
            f"{allocation.nodes}",
            "leave --nodes out: all of its nodes are used",
        )
    gpus = asked.gpus or allocation.gpus
    if not asked.cpu_processes:
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
        asked,
        nodes=allocation.nodes,
        gpus=None if asked.cpu_processes else gpus,
        cpus=min(asked.cpus or allocation.cpus or 1, allocation.cpus or asked.cpus or 1),
    )
    return _Machine(resources, GpuRequest(), allocation.cpus, allocation.gpus)
