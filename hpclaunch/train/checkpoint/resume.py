"""Which checkpoint a start goes on from: the newest whole one, here or where copies are kept."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import distributed
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.progress_log import say
from hpclaunch.train.upload import uploader


def resume_point(
    folder: RunFolder, here: distributed.DistContext, store: uploader.Store
) -> Path | None:
    """Return the newest whole checkpoint to go on from, here or in the store, if any, and say so.

    A damaged one is named and passed over for the one before. Raises UserError where there are
    checkpoints and none is whole, or the store with the only ones does not answer: to start over
    unasked would cost what they may still be worth.
    """
    local = {path.name for path in distributed.all_gather_object(here, folders.complete(folder))[0]}
    if store.problem and here.first:
        say(f"{store.url} cannot be asked for checkpoints: {store.problem}")
    for name in sorted({*local, *store.whole}, key=lambda n: folders.step_of(Path(n)))[::-1]:
        checkpoint = folder.checkpoints / name
        if name in local and _whole(folder, here, checkpoint):
            return checkpoint
        if name in store.whole:
            problem = store.fetch(name)
            if problem is None:
                _tell_resume(folder, here, checkpoint)
                return checkpoint
            store.tell_damage(name, problem)
    if local or store.whole:
        raise UserError(
            f"none of the checkpoints in {folder.checkpoints} is whole",
            "to start over, remove or rename that folder",
        )
    if store.problem and distributed.all_gather_object(here, uploader.has_been_there(folder))[0]:
        raise UserError(
            f"this run's checkpoints are at {store.url}, which cannot be asked: {store.problem}",
            "try again later; to start over, take another --name",
        )
    return None


def _whole(folder: RunFolder, here: distributed.DistContext, checkpoint: Path) -> bool:
    """Return whether a checkpoint here can be resumed from; name what is wrong with it."""
    seen = distributed.all_gather_object(here, manifest.damage(checkpoint, here.rank, here.size))
    wrong = next((each for each in seen if each is not None), None)
    if wrong is None:
        _tell_resume(folder, here, checkpoint)
    elif here.first:
        log_event(folder.events, "checkpoint damaged", path=checkpoint.name, why=wrong)
        say(f"{checkpoint.name} cannot be resumed from: {wrong}")
    return wrong is None


def _tell_resume(folder: RunFolder, here: distributed.DistContext, checkpoint: Path) -> None:
    if not here.first:
        return
    say(f"resuming from {checkpoint.relative_to(folder.root)}")
    facts = manifest.read(checkpoint)
    before = facts[0].get("ranks") if facts else None
    if before not in (None, here.size):
        say(f"  it was written by {before} ranks, now {here.size}: the data's order differs")
