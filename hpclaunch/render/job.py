"""Everything a plan becomes on disk, as text: what a dry run prints is what is submitted."""

from __future__ import annotations

from collections.abc import Mapping

from hpclaunch.frozen import frozen
from hpclaunch.plan.plan import Plan
from hpclaunch.recipe.load import to_yaml
from hpclaunch.render.accelerate import plan_config
from hpclaunch.render.script import script
from hpclaunch.render.static_scripts import static_scripts


@frozen
class Job:
    """A plan and the text of its files."""

    plan: Plan
    script: str
    accelerate: str
    recipe: str
    static_scripts: Mapping[str, str]
    """launch.sh and node.sh, by name: the same for every job."""


def render_job(plan: Plan) -> Job:
    """Render all files of a plan."""
    return Job(plan, script(plan), plan_config(plan), to_yaml(plan.recipe), static_scripts())
