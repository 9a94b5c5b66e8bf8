"""Is there room for the model's files in the hub's cache, and for the run's checkpoints?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpclaunch.chat.hub_cache import cache_folder
from hpclaunch.forecast.forecast import Forecast
from hpclaunch.forecast.hub_access import in_cache
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.paths import is_local
from hpclaunch.run.waiting import MOST
from hpclaunch.units import size

BYTES_PER_PARAMETER = 2
"""Of a model's files on the hub, nearly all of which are in 16 bits."""


def space_problems(made: Forecast, environment: Mapping[str, str], runs_dir: Path) -> Iterator[str]:
    """Return what does not fit on the disks as they are seen from here, each in a sentence.

    A quota is not seen, and nodes may have other disks: these are warnings.
    """
    recipe = made.request.recipe
    name = recipe.model.name
    if not (name.startswith("builtin:") or is_local(name) or in_cache(name, environment)):
        needed = made.model.parameters * BYTES_PER_PARAMETER
        cache = cache_folder(environment)
        yield from _problem(f"the files of {name}", needed, cache, "set HF_HOME to another folder")
    if recipe.checkpoints.every_steps or recipe.checkpoints.best:
        # One more than are kept while a new one is written.
        kept = recipe.checkpoints.keep + 1 + (recipe.checkpoints.best is not None)
        kept += MOST if best_task(recipe) is not None else 0  # they wait for their scores
        needed = made.estimate.checkpoint_bytes * kept
        what = f"{kept} checkpoints"
        yield from _problem(what, needed, runs_dir, "choose another --runs-dir")


def _problem(what: str, needed: int, folder: Path, fix: str) -> Iterator[str]:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    if free < needed:
        yield f"{what} take {size(needed)}, and {folder} has {size(free)} free: {fix}"
