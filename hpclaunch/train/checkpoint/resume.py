"""Which checkpoint to resume from: the newest complete one, here or at the address of `sync_to`."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.distributed import DistContext, all_gather_object
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.upload.remote_checkpoints import RemoteCheckpoints, was_uploaded


def find_resume_checkpoint(
    folder: RunFolder, context: DistContext, remote: RemoteCheckpoints
) -> Path | None:
    """Return the newest complete checkpoint, downloaded if need be; None if there is none at all.

    A damaged one is logged and passed over for the one before. Raises UserError where there are
    checkpoints and none is complete, or where the address that may hold some does not answer: to
    start over unasked would throw away what they hold.
    """
    local = {path.name for path in all_gather_object(context, folders.complete(folder))[0]}
    if remote.problem and context.is_main_process:
        log_line(f"{remote.url} cannot be asked for checkpoints: {remote.problem}")
    for name in sorted({*local, *remote.complete}, key=lambda n: folders.step_of(Path(n)))[::-1]:
        checkpoint = folder.checkpoints / name
        if name in local and _is_complete(folder, context, checkpoint):
            return checkpoint
        if name in remote.complete:
            problem = remote.fetch(name)
            if problem is None:
                _log_resume(folder, context, checkpoint)
                return checkpoint
            remote.log_damage(name, problem)
    if local or remote.complete:
        raise UserError(
            f"none of the checkpoints in {folder.checkpoints} is whole",
            "to start over, remove or rename that folder",
        )
    if remote.problem and all_gather_object(context, was_uploaded(folder))[0]:
        raise UserError(
            f"this run's checkpoints are at {remote.url}, which cannot be asked: {remote.problem}",
            "try again later; to start over, take another --name",
        )
    return None


def _is_complete(folder: RunFolder, context: DistContext, checkpoint: Path) -> bool:
    """Return whether a checkpoint here can be resumed from; log what is wrong with it."""
    damage = manifest.find_damage(checkpoint, context.rank, context.world_size)
    problem = next((each for each in all_gather_object(context, damage) if each is not None), None)
    if problem is None:
        _log_resume(folder, context, checkpoint)
    elif context.is_main_process:
        log_event(folder.events, "checkpoint damaged", path=checkpoint.name, why=problem)
        log_line(f"{checkpoint.name} cannot be resumed from: {problem}")
    return problem is None


def _log_resume(folder: RunFolder, context: DistContext, checkpoint: Path) -> None:
    if not context.is_main_process:
        return
    log_line(f"resuming from {checkpoint.relative_to(folder.root)}")
    parsed = manifest.read(checkpoint)
    ranks = parsed[0].get("ranks") if parsed else None
    if ranks not in (None, context.world_size):
        log_line(
            f"  it was written by {ranks} ranks, now {context.world_size}: the data's order differs"
        )
