"""Every stage by its name; a stage's module is imported once it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

from hpclaunch.errors import UserError, nearest
from hpclaunch.run.stage_settings import StageSettings
from hpclaunch.stages.stage import Stage

STAGES: tuple[str, ...] = tuple(
    settings.__struct_config__.tag for settings in get_args(StageSettings)
)
"""Names of all; each is that of its module in this package. To add one: CONTRIBUTING.md."""


def stage_called(name: str) -> Stage[Any]:
    """Return the stage of a name. Raises UserError where there is none."""
    if name not in STAGES:
        raise UserError(f"no stage '{name}'", nearest(name, STAGES))
    stage: Stage[Any] = import_module(f"hpclaunch.stages.{name}").STAGE
    return stage
