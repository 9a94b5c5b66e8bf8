"""Everything a plan becomes on disk, as text: what a dry run prints is what is submitted."""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.plan.plan import Plan
from hpclaunch.recipe.load import to_yaml
from hpclaunch.render.accelerate import plan_config
from hpclaunch.render.script import script


@dataclass(frozen=True)
class Job:
    """A plan and the text of its files."""

    plan: Plan
    script: str
    accelerate: str
    recipe: str


def render_job(plan: Plan) -> Job:
    """Render all files of a plan."""
    return Job(plan, script(plan), plan_config(plan), to_yaml(plan.recipe))
