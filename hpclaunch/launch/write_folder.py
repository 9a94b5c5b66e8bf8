"""Write a run folder, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from msgspec import structs

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import predict
from hpclaunch.launch.hand_edits import (
    ACCELERATE,
    SCRIPT,
    checksums,
    find_edits,
    note_pending,
    with_edits,
)
from hpclaunch.launch.job_secrets import refuse_job_secrets
from hpclaunch.launch.rewards import copy_rewards
from hpclaunch.plan.plan import Plan, make_plan
from hpclaunch.plan.resources import Launch
from hpclaunch.predict.kernels import token_flops
from hpclaunch.render.job import Job, render_job
from hpclaunch.render.static_scripts import checksums as static_checksums
from hpclaunch.run.find import next_name, remember
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.links import refuse_links_out
from hpclaunch.run.record import Prediction, Record, now, whoami, write_record
from hpclaunch.run.unfinished import remove_unfinished, unfinished_folder
from hpclaunch.slurm.commands import cluster_name

TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EPERM, errno.EACCES}
"""How a rename fails where the name is taken: by a run, a file or link, or what is another user's
in a folder such as /tmp."""


class Written(NamedTuple):
    """A job and the folder it was written into."""

    job: Job
    """With the next free number in its name where another run has taken the one it was to have."""
    folder: RunFolder
    record: Record


def write_folder(job: Job, fill: Callable[[RunFolder], None] = lambda _: None) -> Written:
    """Make the run folder with everything in it. Raises UserError and leaves nothing otherwise.

    It is written beside its place and renamed, so that it is there whole or not at all; what a
    killed command left is removed. `fill` adds more to it, and may raise OSError or UserError.
    """
    refuse_job_secrets(job)
    while True:
        launch = job.plan.launch
        _check_place(launch)
        remove_unfinished(launch.folder.parent)
        try:
            with unfinished_folder(launch.folder) as unfinished:
                record = _write_new(unfinished, job, fill)
                unfinished.root.rename(launch.folder)
        except OSError as error:
            taken = error.errno in TAKEN
            if not (taken and os.path.lexists(launch.folder)):
                raise UserError(
                    f"run folder {launch.folder} cannot be written: {error.strerror or error}",
                    "free some space, or choose another --runs-dir",
                ) from None
        else:
            folder = RunFolder(launch.folder)
            remember(folder)
            return Written(job, folder, record)
        job = _with_free_name(job)


def _check_place(launch: Launch) -> None:
    """Make the folder that runs go to. Raises UserError where that cannot be."""
    try:
        launch.folder.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(
            f"{launch.folder.parent} is not a folder", "choose another --runs-dir"
        ) from None
    except OSError as error:
        raise UserError(
            f"run folder {launch.folder} cannot be made: {error.strerror}",
            "choose another --runs-dir",
        ) from None


def _write_new(folder: RunFolder, job: Job, fill: Callable[[RunFolder], None]) -> Record:
    """Write everything of a run into an empty folder. Raises OSError, or what `fill` raises."""
    for inner in (folder.logs, folder.metrics):
        inner.mkdir()
    _write_files(folder, job)
    fill(folder)
    record = _record(job)
    write_record(folder, record, place=job.plan.launch.folder)
    return record


def _with_free_name(job: Job) -> Job:
    """Return the job under the next free number. Raises UserError for a name that was given."""
    launch = job.plan.launch
    if launch.numbered:
        return _renamed(job, next_name(launch.folder.parent, launch.numbered))
    if RunFolder(launch.folder).record.exists():
        fix = f"go on with it: hpclaunch resume {quote(str(launch.folder))}"
    else:
        fix = f"remove what is there: {quote(str(launch.folder))}"
    raise UserError(
        f"run '{launch.name}' exists already: {launch.folder}", f"choose another --name, or {fix}"
    )


def _renamed(job: Job, name: str) -> Job:
    """Return the job under another name, which stands in its script, too."""
    plan = job.plan
    launch = replace(plan.launch, name=name, folder=plan.launch.folder.with_name(name))
    return render_job(make_plan(plan.recipe, plan.site, plan.resources, launch))


def rewrite_folder(job: Job, before: Record) -> Written:
    """Put a job that goes on into the run folder it began in; what it has done so far stays.

    What a person edited there stays, too, or is set aside as NAME.edited (hand_edits.py). Raises
    UserError where that cannot be written.
    """
    refuse_job_secrets(job)
    folder = RunFolder(job.plan.launch.folder)
    refuse_links_out(folder)
    edits = find_edits(folder, before, job)
    record = structs.replace(_record(job), name=before.name, created=before.created)
    try:
        for mark in (folder.exit_code_file, folder.stop_request, folder.cancelled_file):
            mark.unlink(missing_ok=True)
        note_pending(folder, job)
        for inner in (folder.logs, folder.metrics):  # a folder had back from a copy has none
            inner.mkdir(exist_ok=True)
        for name in edits.set_aside:
            (folder.root / name).replace(folder.root / f"{name}.edited")
        job = with_edits(job, edits)
        _write_files(folder, job)
        write_record(folder, record)
        folder.pending_checksums.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"run folder {folder.root} cannot be written: {error.strerror}", "free some space"
        ) from None
    return Written(job, folder, record)


def _write_files(folder: RunFolder, job: Job) -> None:
    """Write what the job reads. Raises OSError."""
    write_atomic(folder.recipe, job.recipe)
    write_atomic(folder.accelerate, job.accelerate)
    write_atomic(folder.script, job.script, mode=0o777)
    write_atomic(folder.launch_functions, job.static_scripts[folder.launch_functions.name])
    write_atomic(folder.node_checks, job.static_scripts[folder.node_checks.name], mode=0o777)
    if job.plan.builtin_trainer:
        copy_rewards(job.plan.recipe, folder)
    if job.plan.launch.stage:
        write_atomic(folder.stage, job.plan.launch.stage.document)


def check_writable(runs_dir: Path) -> None:
    """Refuse a runs folder that cannot be written, before Slurm is asked. Raises UserError."""
    place = runs_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{place} is not a folder", "choose another --runs-dir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"run folder is not writable: {place}", "choose another --runs-dir")


def _record(job: Job) -> Record:
    """Return the record of a run that is about to start."""
    plan, files = job.plan, checksums(job)
    user, host = whoami()
    return Record(
        name=plan.launch.name,
        created=now(),
        user=user,
        host=host,
        command=list(plan.launch.command),
        mode=plan.launch.mode,
        hpclaunch=plan.launch.version,
        recipe=plan.recipe.name,
        site=plan.site.name,
        cluster=None if plan.launch.mode == "local" else cluster_name(),
        nodes=plan.nodes,
        server_nodes=plan.server_nodes,
        processes_per_node=plan.processes_per_node,
        device=plan.device,
        gpu=plan.resources.gpu,
        group=plan.launch.group,
        program=list(plan.launch.program),
        stage=plan.launch.stage.name if plan.launch.stage else "",
        resources=asdict(plan.resources),
        python=str(plan.launch.python.path),
        modules=list(plan.launch.modules),
        static_scripts=static_checksums(job.static_scripts),
        files={name: files[name] for name in (SCRIPT, ACCELERATE)},
        prediction=_prediction(plan),
    )


def _prediction(plan: Plan) -> Prediction | None:
    """Return what is predicted of a job, where the model's size is known here."""
    try:
        made = predict(plan)
    except UserError:
        return None
    if made is None:
        return None
    memory, step = made.estimate.memory, made.estimate.step
    return Prediction(
        tensors=made.estimate.peak_tensor_bytes,
        total=memory.total,
        step_seconds=step.seconds if step else None,
        token_flops=token_flops(made.training),
    )
