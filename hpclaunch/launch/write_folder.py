"""Write a run folder, whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from msgspec import structs

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import predict
from hpclaunch.launch.hand_edits import ACCELERATE, SCRIPT, checksums, find_edits, with_edits
from hpclaunch.plan.plan import Plan, make_plan
from hpclaunch.predict.kernels import token_flops
from hpclaunch.render.job import Job, render_job
from hpclaunch.render.static_scripts import checksums as static_checksums
from hpclaunch.run.find import next_name, remember
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import Prediction, Record, now, whoami, write_record
from hpclaunch.slurm.commands import cluster_name


class Written(NamedTuple):
    """A job and the folder it was written into."""

    job: Job
    """With the next free number in its name where another run has taken the one it was to have."""
    folder: RunFolder
    record: Record


def write_folder(job: Job) -> Written:
    """Make the run folder with everything in it. Raises UserError and leaves nothing otherwise."""
    job = _claim(job)
    folder = RunFolder(job.plan.launch.folder)
    try:
        for inner in (folder.logs, folder.metrics):
            inner.mkdir()
        _write_files(folder, job)
        record = _record(job)
        write_record(folder, record)
    except OSError as error:
        shutil.rmtree(folder.root, ignore_errors=True)
        raise UserError(
            f"run folder {folder.root} cannot be written: {error.strerror}",
            "free some space, or choose another --runs-dir",
        ) from None
    remember(folder)
    return Written(job, folder, record)


def _claim(job: Job) -> Job:
    """Make the run folder, empty; of several submissions at once, each gets a number of its own.

    Raises UserError where it cannot be made, or the user gave it a name that is taken.
    """
    while True:
        launch = job.plan.launch
        try:
            launch.folder.parent.mkdir(parents=True, exist_ok=True)
            launch.folder.mkdir()
        except FileExistsError:
            if not launch.folder.parent.is_dir():
                raise UserError(
                    f"{launch.folder.parent} is not a folder", "choose another --runs-dir"
                ) from None
            if not launch.numbered:
                go_on = f"hpclaunch resume {quote(str(launch.folder))}"
                raise UserError(
                    f"run '{launch.name}' exists already: {launch.folder}",
                    f"choose another --name, or go on with it: {go_on}",
                ) from None
            job = _renamed(job, next_name(launch.folder.parent, launch.numbered))
        except OSError as error:
            raise UserError(
                f"run folder {launch.folder} cannot be made: {error.strerror}",
                "choose another --runs-dir",
            ) from None
        else:
            return job


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
    folder = RunFolder(job.plan.launch.folder)
    edits = find_edits(folder, before, job)
    record = structs.replace(_record(job), name=before.name, created=before.created)
    try:
        for mark in (folder.exit_code_file, folder.stop_request, folder.cancelled_file):
            mark.unlink(missing_ok=True)
        for inner in (folder.logs, folder.metrics):  # a folder had back from a copy has none
            inner.mkdir(exist_ok=True)
        for name in edits.set_aside:
            (folder.root / name).replace(folder.root / f"{name}.edited")
        job = with_edits(job, edits)
        _write_files(folder, job)
        write_record(folder, record)
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


def check_writable(runs_dir: Path) -> None:
    """Refuse a runs folder that cannot be written, before Slurm is asked. Raises UserError."""
    import os

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
        processes_per_node=plan.processes_per_node,
        device=plan.device,
        gpu=plan.resources.gpu,
        program=list(plan.launch.program),
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
