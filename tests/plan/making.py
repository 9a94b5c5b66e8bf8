"""Plans for the tests, with what a test does not speak about filled in."""

from pathlib import Path
from typing import Any

from hpclaunch.plan.plan import Plan, make_plan
from hpclaunch.plan.resources import Launch, PythonEnvironment, Resources
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.schema import Site

GENERIC = Site(name="generic", time="1:00:00")
VENV = PythonEnvironment(Path("/shared/venv"), "venv")


def recipe(*overrides: str, name: str = "llama3-70b-lora") -> Recipe:
    """Return a ready recipe whose batch suits any number of ranks."""
    return load(name, ("training.global_batch=null", *overrides))


def launch(**changes: Any) -> Launch:
    values: dict[str, Any] = {
        "mode": "sbatch",
        "name": "run-1",
        "folder": Path("/shared/runs/run-1"),
        "cwd": Path("/shared/work"),
        "python": VENV,
        "version": "0.1.0",
        "command": ("hpclaunch", "sbatch"),
    }
    return Launch(**(values | changes))


def plan(
    what: Recipe | None = None,
    site: Site = GENERIC,
    how: Launch | None = None,
    **resources: Any,
) -> Plan:
    """Return the plan of `what` on `site` with `resources`."""
    return make_plan(what or recipe(), site, Resources(**resources), how or launch())


def options(made: Plan) -> dict[str, str | None]:
    return {option.flag: option.value for option in made.options}
