"""No secret in what is written down of a job: command, script, recipe, profile, stage."""

from __future__ import annotations

from hpclaunch.render.job import Job
from hpclaunch.slurm.environment import (
    refuse_secret_variables,
    refuse_secrets,
    refuse_secrets_in,
)


def refuse_job_secrets(job: Job) -> None:
    """Refuse a job with a secret in what its folder is to hold. Raises UserError."""
    launch, site = job.plan.launch, job.plan.site
    refuse_secrets([*launch.command, *launch.program])
    refuse_secret_variables(site.environment, f"the environment of site profile {site.name}")
    refuse_secrets_in(job.script, "the script")
    refuse_secrets_in(job.recipe, "the recipe")
    if launch.stage:
        refuse_secrets_in(launch.stage.document, f"the settings of {launch.stage.name}")
