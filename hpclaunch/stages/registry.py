"""Every stage by its name; a stage's module is imported once it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.stages.stage import Stage

STAGES = {
    "eval": "hpclaunch.stages.eval",
    "best": "hpclaunch.stages.best",
    "merge": "hpclaunch.stages.merge",
    "generate": "hpclaunch.stages.generate",
    "quantize": "hpclaunch.stages.quantize",
    "publish": "hpclaunch.stages.publish",
}
"""Name and module of each. To add one: CONTRIBUTING.md."""


def stage_called(name: str) -> Stage[Any]:
    """Return the stage of a name. Raises UserError where there is none."""
    if name not in STAGES:
        raise UserError(f"no stage '{name}'", nearest(name, STAGES))
    stage: Stage[Any] = import_module(STAGES[name]).STAGE
    return stage
