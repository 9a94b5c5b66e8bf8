"""Where curves go: the package that each tracker needs, and how it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe

TITLES = {"wandb": "Weights & Biases", "mlflow": "MLflow", "trackio": "Trackio"}
"""What those call themselves that show a run elsewhere than in its folder."""
INSTALLED_AS = {"mlflow": "mlflow-skinny"}
"""Packages with another name than their module's, or a smaller one that will do."""


def trackers(recipe: Recipe) -> Iterator[str]:
    """Return the names of the trackers in use, which are those of their packages."""
    for name, section in msgspec.structs.asdict(recipe.tracking).items():
        if section if isinstance(section, bool) else section.enabled:
            yield name


def check_trackers(recipe: Recipe, missing: Callable[[str], bool], python: str) -> None:
    """Refuse a tracker whose package is missing. Raises UserError with the line that installs it.

    `missing` returns whether a package is; `python` is the job's Python, as it is called.
    """
    for name in trackers(recipe):
        if missing(name):
            key = f"tracking.{name}" + ("" if name == "tensorboard" else ".enabled")
            raise UserError(
                f"{key} is on, but the package {name} is not installed",
                f"{python} -m pip install {INSTALLED_AS.get(name, name)}, or set {key}: false",
            )
