"""What is refused before anything is written or submitted, because it is sure to fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import check_access, check_offline
from hpclaunch.forecast.model_config import model_config
from hpclaunch.forecast.task_data import check_tasks
from hpclaunch.launch.job_secrets import refuse_job_secrets
from hpclaunch.launch.program import (
    LAUNCHER,
    ON_NEURON,
    TRAINER,
    check_packages,
    check_program,
    missing,
)
from hpclaunch.launch.remote_storage import check_storage
from hpclaunch.launch.rewards import check_rewards
from hpclaunch.launch.write_folder import check_writable
from hpclaunch.predict.from_recipe import check_targets
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.levers import needed_packages
from hpclaunch.recipe.model_folder import check_model_folder
from hpclaunch.recipe.parallel import check_model
from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.quantized import check_quantized
from hpclaunch.recipe.schema import Model, Recipe
from hpclaunch.recipe.tracking import check_trackers, trackers
from hpclaunch.recipe.zero import check_zero_model
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.webhook import webhook_url
from hpclaunch.slurm.environment import (
    refuse_secrets_in,
)

CheckData = Callable[[Recipe], object]
"""What looks at a recipe's data, and raises UserError where nobody could train on it."""


def check(job: Job, data: CheckData = check_data) -> None:
    """Refuse a job that is sure to fail, before anything is written. Raises UserError."""
    check_here(job, data)
    launch = job.plan.launch
    if launch.slurm_problem and job.plan.device == "gpu" and not job.plan.site.gpus:
        raise UserError(
            f"how this cluster is asked for its GPUs is unknown: {launch.slurm_problem}",
            "try again, or write it into a site profile (gpus: ...)",
        )
    check_model_access(job)


def check_here(job: Job, data: CheckData) -> None:
    """Refuse a job that this machine's files show to fail. Raises UserError."""
    launch = job.plan.launch
    refuse_job_secrets(job)
    check_writable(launch.folder.parent)
    if job.plan.recipe.notify.webhook:
        webhook_url(inherited=launch.mode != "sbatch")
    _check_start(job)
    check_recipe(job, data)
    _check_evaluate(job)


def check_recipe(job: Job, data: CheckData = check_data) -> None:
    """Refuse a recipe that no run could follow, with its data. Raises UserError."""
    refuse_secrets_in(job.recipe, "the recipe")
    if job.plan.builtin_trainer:
        if not (job.plan.launch.modules or job.plan.site.modules):
            python = job.plan.launch.python.path
            check_storage(job.plan.recipe.checkpoints, python)
            _check_trackers(job.plan.recipe, python)
        _check_model(job.plan.recipe, job.plan.launch.shape_of)
        data(job.plan.recipe)
        modules = bool(job.plan.launch.modules or job.plan.site.modules)
        check_rewards(
            job.plan.recipe,
            RunFolder(job.plan.launch.folder),
            None if modules else job.plan.launch.python.path,
        )


def _check_model(
    recipe: Recipe, shape_of: str = "", variables: Mapping[str, str] = os.environ
) -> None:
    """Refuse what the model's config, where it is here, does not allow. Raises UserError."""
    shape = Model(name=shape_of) if shape_of else recipe.model
    config, _ = model_config(shape, variables, ask_hub=False)
    if config is not None:
        check_model(recipe, config)
        check_zero_model(recipe, config)
        # What an earlier stage of a chain trained or merged is in 16 bits.
        check_quantized(recipe, {} if shape_of else config)
        check_targets(recipe, config)
    # What an earlier job makes need not be there yet.
    if is_local(recipe.model.name) and not shape_of and Path(recipe.model.name).exists():
        check_model_folder(Path(recipe.model.name))


def _check_evaluate(job: Job, variables: Mapping[str, str] = os.environ) -> None:
    """Refuse evaluations of checkpoints that could not be submitted. Raises UserError."""
    evaluate, launch = job.plan.recipe.evaluate, job.plan.launch
    if evaluate.every is None or not job.plan.builtin_trainer:
        return
    if launch.mode == "local":
        raise UserError(
            "evaluate.every: evaluations of checkpoints are Slurm jobs, and this run is local",
            "evaluate afterwards: hpclaunch eval RUN --checkpoint step-N",
        )
    replace(job.plan.resources, time=evaluate.time).check()
    site = job.plan.site
    seen = {**variables, **site.environment}
    python = launch.python.path
    best = best_task(job.plan.recipe)
    check_tasks(evaluate.tasks, evaluate.tasks_dir, python, site.internet, seen, best)


def _check_trackers(recipe: Recipe, python: Path) -> None:
    """Refuse trackers that the job's environment at `python` lacks. Raises UserError."""
    names = [name for name in trackers(recipe) if name != "tensorboard"]  # that of TRAINER's extra
    if names:
        lacking = set(missing(python, names, Path("/")))
        check_trackers(recipe, lacking.__contains__, f"{python}/bin/python")


def check_model_access(job: Job, variables: Mapping[str, str] = os.environ) -> None:
    """Refuse a model or data of the hub that the job could not read. Raises UserError."""
    if job.plan.builtin_trainer:
        mode, site = job.plan.launch.mode, job.plan.site
        # What runs here, or in an allocation this shell is in, has this shell's variables.
        as_job = mode == "sbatch" or (mode == "srun" and "SLURM_JOB_ID" not in variables)
        seen = {**variables, **site.environment}
        if not site.internet:
            check_offline(job.plan.recipe, seen)
        check_access(job.plan.recipe.model, site.internet, seen, as_job)


def _check_start(job: Job) -> None:
    """Refuse a program or an environment that the job could not start. Raises UserError."""
    launch = job.plan.launch
    modules = bool(launch.modules or job.plan.site.modules)
    python = launch.python.path
    if launch.program:
        check_program(launch.program, python, launch.cwd, modules=modules)
    if not modules:
        needed: tuple[str, ...] = TRAINER if job.plan.builtin_trainer else LAUNCHER
        if job.plan.neuron:
            needed = ON_NEURON
        if launch.stage:
            needed = tuple(dict.fromkeys((*LAUNCHER, *launch.stage.packages)))
        four_bit = job.plan.builtin_trainer and job.plan.recipe.method.kind == "qlora"
        # From the root: a folder of that name where the user stands is no package of the job's.
        more = ["bitsandbytes"] if four_bit else []
        if job.plan.server_nodes:
            more.append("vllm")
        more += needed_packages(job.plan.recipe) if job.plan.builtin_trainer else []
        check_packages(python, (*needed, *more), Path("/"))
        deepspeed = job.plan.layout.engine == "deepspeed"
        if deepspeed and missing(python, ["deepspeed"], Path("/")):
            raise UserError(
                f"--engine deepspeed: the job's Python in {python} lacks deepspeed",
                f"{python}/bin/python -m pip install deepspeed",
            )
