"""Write a run folder, whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from shlex import quote

from msgspec import structs

from hpclaunch.errors import UserError
from hpclaunch.forecast.forecast import predict
from hpclaunch.plan.plan import Plan
from hpclaunch.predict.kernels import token_flops
from hpclaunch.render.job import Job
from hpclaunch.render.static_scripts import checksums
from hpclaunch.run.find import remember
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import Prediction, Record, now, whoami, write_record


def write_folder(job: Job) -> tuple[RunFolder, Record]:
    """Make the run folder with everything in it. Raises UserError and leaves nothing otherwise."""
    folder = RunFolder(job.plan.launch.folder)
    try:
        folder.root.parent.mkdir(parents=True, exist_ok=True)
        folder.root.mkdir()
    except FileExistsError:
        if folder.root.parent.is_dir():
            go_on = f"hpclaunch resume {quote(str(folder.root))}"
            raise UserError(
                f"run '{folder.root.name}' exists already: {folder.root}",
                f"choose another --name, or go on with it: {go_on}",
            ) from None
        raise UserError(
            f"{folder.root.parent} is not a folder", "choose another --runs-dir"
        ) from None
    except OSError as error:
        raise UserError(
            f"run folder {folder.root} cannot be made: {error.strerror}",
            "choose another --runs-dir",
        ) from None
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
    return folder, record


def rewrite_folder(job: Job, before: Record) -> tuple[RunFolder, Record]:
    """Put a job that goes on into the run folder it began in; what it has done so far stays.

    Raises UserError where that cannot be written.
    """
    folder = RunFolder(job.plan.launch.folder)
    record = structs.replace(_record(job), name=before.name, created=before.created)
    try:
        for mark in (folder.exit_code_file, folder.stop_request, folder.cancelled_file):
            mark.unlink(missing_ok=True)
        for inner in (folder.logs, folder.metrics):  # a folder had back from a copy has none
            inner.mkdir(exist_ok=True)
        _write_files(folder, job)
        write_record(folder, record)
    except OSError as error:
        raise UserError(
            f"run folder {folder.root} cannot be written: {error.strerror}", "free some space"
        ) from None
    return folder, record


def _write_files(folder: RunFolder, job: Job) -> None:
    """Write what the job reads. Raises OSError."""
    write_atomic(folder.recipe, job.recipe)
    write_atomic(folder.accelerate, job.accelerate)
    write_atomic(folder.script, job.script, mode=0o755)
    write_atomic(folder.launch_functions, job.static_scripts[folder.launch_functions.name])
    write_atomic(folder.node_checks, job.static_scripts[folder.node_checks.name], mode=0o755)


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
    plan = job.plan
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
        nodes=plan.nodes,
        processes_per_node=plan.processes_per_node,
        device=plan.device,
        gpu=plan.resources.gpu,
        program=list(plan.launch.program),
        resources=asdict(plan.resources),
        python=str(plan.launch.python.path),
        modules=list(plan.launch.modules),
        static_scripts=checksums(job.static_scripts),
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
