"""A recipe by itself, held against everything that a run of it would be refused for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import hpclaunch
from hpclaunch.launch.check import CheckData, check_recipe
from hpclaunch.launch.draft import site_here
from hpclaunch.plan.plan import make_plan
from hpclaunch.plan.resources import Launch, PythonEnvironment, Resources
from hpclaunch.recipe.load import load
from hpclaunch.render.job import Job, render_job
from hpclaunch.run.find import default_runs_dir
from hpclaunch.site.load import load_site


def validate(reference: str, overrides: Sequence[str], data: CheckData) -> Job:
    """Return a job of the recipe on one GPU, which nobody starts. Raises UserError.

    `data` looks at its data. Access to the model is `check_model_access`; whether enough GPUs are
    asked for is a question of the submission.
    """
    recipe = load(reference, overrides)
    name = f"{recipe.name}-1"
    launch = Launch(
        mode="local",
        name=name,
        folder=default_runs_dir() / name,
        cwd=Path.cwd(),
        python=PythonEnvironment(Path(sys.prefix), "prefix"),
        version=hpclaunch.__version__,
    )
    site = load_site(site_here("sbatch"))
    job = render_job(make_plan(recipe, site, Resources(gpus=1), launch))
    check_recipe(job, data)
    return job
