"""A sweep's runs, all drafted and checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.check import CheckData, check, check_recipe
from hpclaunch.launch.draft import draft, machine_here
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import check_name
from hpclaunch.recipe.schema import Recipe
from hpclaunch.render.array import array_script
from hpclaunch.render.job import Job
from hpclaunch.run.find import default_runs_dir, next_name
from hpclaunch.slurm.array import max_array_size
from hpclaunch.sweep.grid import Parameter, points, read_parameters, run_names

ONLY_THE_COURSE = frozenset({
    "learning_rate", "weight_decay", "seed", "data_seed", "max_grad_norm", "warmup_steps",
    "warmup_ratio", "lr_scheduler_type", "adam_beta1", "adam_beta2", "adam_epsilon",
})  # fmt: skip
"""Settings of training that change neither memory, time nor what is read of the data."""


@frozen
class SweepDraft:
    """A sweep, ready to be written."""

    name: str
    folder: Path
    parameters: tuple[Parameter, ...]
    jobs: tuple[Job, ...]
    """In the order of the array's tasks."""
    parallel: int
    """Number of runs at once, at most."""
    script: str
    """Of the job array; '' where the runs do not go to Slurm."""


def draft_sweep(request: Request, parallel: int | None = None) -> SweepDraft:
    """Return the sweep of a request whose overrides hold several values a key. Writes nothing.

    Raises UserError for a value that the recipe refuses, for runs that are the same, and for more
    of them than the cluster's arrays hold.
    """
    fixed, parameters = read_parameters(request.overrides)
    for parameter in parameters:
        if parameter.key in request.changes.given():
            raise UserError(
                f"{parameter.key} is swept, and an option sets it, too", "leave the option out"
            )
    combinations = points(parameters)
    if parallel is not None and parallel < 1:
        raise UserError(f"--parallel {parallel}: must be at least 1")
    if request.mode == "sbatch":
        most = max_array_size()
        if most is not None and len(combinations) > most:
            raise UserError(
                f"{len(combinations)} runs: a job array of this cluster has {most} tasks at most",
                "leave values out, or submit several sweeps",
            )
    machine = machine_here(replace(request, overrides=fixed))
    runs_dir = (request.runs_dir or default_runs_dir()).absolute()
    first = replace(request, overrides=(*fixed, *combinations[0].overrides))
    stem = draft(first, machine=machine).plan.recipe.name
    name = request.name or next_name(runs_dir, f"{stem}-sweep")
    check_name(name)
    names = run_names(name, parameters)
    jobs = tuple(
        draft(
            replace(
                request,
                overrides=(*fixed, *point.overrides),
                name=run,
                runs_dir=runs_dir,
                group=name,
            ),
            machine=machine,
        )
        for point, run in zip(combinations, names, strict=True)
    )
    _refuse_same(jobs)
    folder = runs_dir / name
    for path in (folder, *(job.plan.launch.folder for job in jobs)):
        if path.exists():
            raise UserError(f"{path} exists already", "choose another --name")
    parallel = min(parallel or len(jobs), len(jobs))
    script = (
        array_script(dict(enumerate(jobs)), folder, parallel) if request.mode == "sbatch" else ""
    )
    return SweepDraft(name, folder, parameters, jobs, parallel, script)


def _refuse_same(jobs: tuple[Job, ...]) -> None:
    """Refuse two runs whose recipes are the same once resolved. Raises UserError."""
    seen: dict[str, str] = {}
    for job in jobs:
        name = job.plan.launch.name
        if job.recipe in seen:
            raise UserError(f"runs {seen[job.recipe]} and {name} are the same", "leave one out")
        seen[job.recipe] = name


def check_sweep(sweep: SweepDraft, data: CheckData = check_data) -> None:
    """Refuse a sweep of which one run is sure to fail. Raises UserError that names it.

    What is the same for several runs is looked at once.
    """
    looked_at = once(data)
    seen: set[tuple[str, str]] = set()
    for job in sweep.jobs:
        recipe = job.plan.recipe
        kind = (recipe.method.kind, repr(recipe.model))
        with_name(job, check_recipe if kind in seen else check, looked_at)
        seen.add(kind)


def with_name(job: Job, look: Callable[[Job, CheckData], None], data: CheckData) -> None:
    """Look at a job; an error names the run."""
    try:
        look(job, data)
    except UserError as error:
        raise UserError(f"{job.plan.launch.name}: {error.message}", error.fix) from None


def once(data: CheckData) -> CheckData:
    """Return a look at data that looks once at what is the same for several recipes."""
    seen: set[bytes] = set()

    def look(recipe: Recipe) -> None:
        key = msgspec.json.encode(same_step(recipe))
        if key not in seen:
            data(recipe)
            seen.add(key)

    return look


def same_step(recipe: Recipe) -> Mapping[str, Any]:
    """Return a recipe's values without those that change only the course of the loss."""
    values: dict[str, Any] = msgspec.to_builtins(recipe)
    training = values["training"]
    return values | {
        "training": {key: value for key, value in training.items() if key not in ONLY_THE_COURSE}
    }
