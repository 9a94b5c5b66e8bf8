"""Tasks of lm-evaluation-harness: are they there, and can a job read their data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import dataset_in_cache
from hpclaunch.harness import tasks
from hpclaunch.recipe.best import BestTask

_TRUE = {"1", "true", "yes", "on"}
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def check_tasks(
    names: Sequence[str],
    own: str | None,
    python: Path,
    internet: bool,
    environment: Mapping[str, str],
    best: BestTask | None = None,
) -> None:
    """Refuse unknown tasks, and data that an offline job would not find. Raises UserError.

    `own`: the folder of the user's own task files; `python`: the prefix of the job's environment;
    `best`: the one among them that needs a score of its own.
    """
    folders = [tasks.harness_folder(python) / "tasks"]
    folders += [Path(own)] if own is not None else []
    index = tasks.read_index(folders)
    tasks.check_tasks(names, index, own)
    if best is not None:
        tasks.check_score(best.task, best.metric, index)
    offline = any(environment.get(name, "").strip().lower() in _TRUE for name in _OFFLINE)
    if offline or not internet:
        configs = tasks.needed_files(names, index).values()
        check_datasets(tasks.hub_datasets(configs), environment)


def check_datasets(names: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse data that a job without internet would not find. Raises UserError."""
    missing = [name for name in names if not dataset_in_cache(name, environment)]
    if missing:
        more = f" and {len(missing) - 5} others" if len(missing) > 5 else ""
        raise UserError(
            f"the tasks read {', '.join(missing[:5])}{more}, which the cache of datasets does not "
            "hold, and the job has no internet",
            f"run here first: hpclaunch fetch {' '.join(f'datasets/{name}' for name in missing)}",
        )
