"""`python -m hpclaunch.train.stages.best`: the checkpoint with the best score as final weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.run.best_score import choose, saved, scores
from hpclaunch.run.evaluations import read_evaluations
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage_settings import Best
from hpclaunch.train import phases
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.stages.models import import_libraries
from hpclaunch.train.stages.run import StageRun, stage_program


def best(run: StageRun) -> dict[str, Any]:
    """Write the best checkpoint's weights to RUN/final; return its score and the others'.

    Raises UserError where the choice cannot be made, or its checkpoint is damaged.
    """
    settings: Best = run.settings
    source = run.record.sources[0]
    training = RunFolder(Path(source.run or ""))
    chosen = choose(training, settings)
    phases.begin(f"verifying {chosen.name}")
    damage = manifest.find_damage(training.checkpoints / chosen.name)
    if damage is not None:
        raise UserError(
            f"run {source.name}: {chosen.name}, the best in {settings.task}, is damaged: {damage}",
            "bring a copy of it back; the others stay as they are",
        )
    import_libraries()
    weights = run.open(msgspec.structs.replace(source, checkpoint=chosen.name))
    with run.final() as folder:
        for path in (weights.adapter or Path(weights.model)).iterdir():
            path.rename(folder / path.name)
    times = saved(training, read_events(training.events))
    found = scores(read_evaluations(training), times, settings)
    return {
        "checkpoint": chosen.name,
        "task": settings.task,
        "metric": chosen.metric,
        "value": chosen.value,
        "higher_is_better": chosen.higher,
        "evaluation": chosen.evaluation,
        "scores": {each.name: each.value for _, each in sorted(found.items())},
        "left_out": [f"step-{step}" for step in sorted(times.keys() - found.keys())],
    }


if __name__ == "__main__":
    stage_program(best)
