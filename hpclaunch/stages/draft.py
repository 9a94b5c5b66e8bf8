"""A stage with its settings and sources to a Job: what `submit` and `execute` then start."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote

import msgspec

from hpclaunch.diagnose.state import run_state
from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import check_access
from hpclaunch.frozen import frozen
from hpclaunch.launch.draft import draft, site_here
from hpclaunch.launch.local_devices import local_gpus
from hpclaunch.launch.request import Request
from hpclaunch.plan.resources import StageLaunch
from hpclaunch.recipe import library
from hpclaunch.recipe.schema import Model
from hpclaunch.render.job import Job
from hpclaunch.run.find import default_runs_dir
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.owner import is_own
from hpclaunch.run.record import read_record
from hpclaunch.run.stage import Source, StageRecord, read_results, read_stage, stage_text
from hpclaunch.run.stage_settings import StageSettings
from hpclaunch.site.load import gpu_request, load_site
from hpclaunch.stages.need import (
    Prediction,
    Unknown,
    gpu_name,
    gpus_needed,
    memory_to_ask,
    must_share,
    predict_stage,
    refuse_too_large,
)
from hpclaunch.stages.registry import stage_called
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.source_checks import check_sources, refuse_scorers

_CARRIER = ("fsdp.sharding=none",)
"""Changes of the recipe that a stage's job is planned with: it trains nothing."""


@frozen
class StageRequest:
    """A stage as requested."""

    settings: StageSettings
    sources: tuple[KnownSource, ...]
    request: Request
    """How it runs: mode, resources, site, name, runs folder, environment. The rest is set here."""
    force: bool = False
    """Do it again although it is done."""


def record_of(wanted: StageRequest) -> StageRecord:
    """Return what stage.json will hold."""
    stage = stage_called(wanted.settings.stage)
    return StageRecord(
        sources=tuple(known.source for known in wanted.sources),
        settings=wanted.settings,
        parallel=_parallel(wanted),
        sampled=stage.sampled,
    )


def _parallel(wanted: StageRequest) -> bool:
    """Return whether each GPU has a process with a copy: not where one GPU cannot hold a copy."""
    stage, resources = stage_called(wanted.settings.stage), wanted.request.resources
    if not stage.parallel or resources.cpu_processes or resources.node_count > 1:
        return stage.parallel
    gpu, most = _gpu(wanted)
    need = stage.need(wanted.settings, wanted.sources)
    return not must_share(need, gpu, resources.gpus or most)


def draft_stage(wanted: StageRequest, variables: Mapping[str, str] = os.environ) -> Job:
    """Return the planned and rendered job of a stage. Only reads.

    Raises UserError for inputs that are missing or that the stage cannot take, and for resources
    that it cannot use.
    """
    stage = stage_called(wanted.settings.stage)
    check_sources(wanted.sources)
    if stage.writes_text:
        refuse_scorers(stage.name, wanted.sources)
    stage.check(wanted.settings, wanted.sources)
    record = record_of(wanted)
    runs_dir = runs_dir_of(wanted)
    name = wanted.request.name or free_name(runs_dir, default_name(wanted))
    launch = StageLaunch(
        stage.name, stage_text(record), record.parallel, stage.sampled, stage.packages
    )
    request = replace(
        _with_resources(wanted),
        recipe=library.TINY,
        overrides=_CARRIER,
        name=name,
        runs_dir=runs_dir,
        program=stage.program,
        stage=launch,
    )
    job = draft(request, variables)
    memory = _memory_to_ask(job, wanted)
    if memory is None:
        return job
    return draft(replace(request, resources=replace(request.resources, mem=memory)), variables)


def prediction_of(job: Job, wanted: StageRequest) -> Prediction | Unknown:
    """Return what a drafted stage takes of memory and time, against what its job gets."""
    stage = stage_called(wanted.settings.stage)
    return predict_stage(stage.name, stage.need(wanted.settings, wanted.sources), job)


def _memory_to_ask(job: Job, wanted: StageRequest) -> str | None:
    """Return the memory of a node to ask for, None where the options name some, or none is."""
    plan, stage = job.plan, stage_called(wanted.settings.stage)
    node = plan.launch.node_memory_mib
    if node is None or any(option.flag == "--mem" for option in plan.options) or not plan.options:
        return None
    need = stage.need(wanted.settings, wanted.sources)
    return memory_to_ask(need, node * 2**20, on_cpus=plan.device == "cpu")


def check_stage(job: Job, wanted: StageRequest, variables: Mapping[str, str] = os.environ) -> None:
    """Refuse models and data that the job could not read. Raises UserError."""
    mode, site = job.plan.launch.mode, job.plan.site
    refuse_too_large(prediction_of(job, wanted))
    stage, python = stage_called(wanted.settings.stage), job.plan.launch.python.path
    stage.check_job(wanted.settings, python, site.internet, {**variables, **site.environment})
    as_job = mode == "sbatch" or (mode == "srun" and "SLURM_JOB_ID" not in variables)
    for known in wanted.sources:
        for name in filter(None, (known.source.model, known.shape_of or known.base)):
            model = Model(name=name, revision=known.source.revision)
            check_access(model, site.internet, {**variables, **site.environment}, as_job)


def _with_resources(wanted: StageRequest) -> Request:
    """Return the request with a GPU or CPUs where nobody said. Raises UserError."""
    stage = stage_called(wanted.settings.stage)
    request, resources = wanted.request, wanted.request.resources
    if resources.node_count > 1 and not stage.parallel:
        raise UserError(f"--nodes {resources.nodes}: {stage.name} runs on one node", "leave it out")
    if (resources.cpu_processes or 1) > 1 and not stage.parallel:
        raise UserError(
            f"--cpu-processes {resources.cpu_processes}: {stage.name} is one process",
            "give it more cores: --cpus",
        )
    place = stage.place(wanted.settings, wanted.sources)
    if place == "cpu" and (resources.gpus or resources.gpu):
        raise UserError(f"{stage.name} uses no GPU here", "leave --gpus and --gpu out")
    if place == "gpu" and resources.cpu_processes:
        raise UserError(f"{stage.name} needs a GPU here", "leave --cpu-processes out")
    if not (resources.gpus or resources.cpu_processes):
        here_without = request.mode == "local" and not local_gpus() and not resources.gpu
        if place == "gpu" and here_without:
            raise UserError(f"{stage.name} needs a GPU here, and this machine has none")
        if place == "cpu" or here_without:
            resources = replace(resources, cpu_processes=1)
        elif not stage.parallel:
            number = 1 if request.mode == "local" else _gpus_needed(wanted)
            resources = replace(resources, gpus=number)
    if request.mode == "srun" and not stage.parallel and resources.nodes is None:
        resources = replace(resources, nodes=1)  # of an allocation that may have more
    return replace(request, resources=resources)


def _gpus_needed(wanted: StageRequest) -> int:
    """Return the fewest GPUs of a node that hold one copy, where their type is known."""
    stage = stage_called(wanted.settings.stage)
    return gpus_needed(stage.need(wanted.settings, wanted.sources), *_gpu(wanted))


def _gpu(wanted: StageRequest) -> tuple[str | None, int | None]:
    """Return the GPU type of the site, and how many a node has; None where that is not known."""
    site = load_site(wanted.request.site or site_here(wanted.request.mode))
    gpu = gpu_name(wanted.request.resources.gpu, site)
    return gpu, gpu_request(site, gpu).per_node if site.gpus else None


def runs_dir_of(wanted: StageRequest) -> Path:
    """Return where the stage's run goes: as said, else beside the run it is of."""
    if wanted.request.runs_dir is not None:
        return wanted.request.runs_dir.absolute()
    for known in wanted.sources:
        if known.source.run is not None:
            beside = Path(known.source.run).parent
            if os.access(beside, os.W_OK | os.X_OK):
                return beside
    return default_runs_dir().absolute()


def default_name(wanted: StageRequest) -> str:
    """Return what the stage's run is called where nobody says: `RUN-merge`."""
    first = wanted.sources[0].source.name if wanted.sources else ""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", first).lstrip("._-")[:80]
    return f"{stem}-{wanted.settings.stage}".lstrip("-")


def free_name(runs_dir: Path, stem: str) -> str:
    """Return `stem`, or `stem-2`, `stem-3` ... where that is taken."""
    number, name = 1, stem
    while (runs_dir / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def find_done(wanted: StageRequest) -> RunFolder | None:
    """Return the run that has done this very stage: same sources, same settings, output in place.

    None where there is none. Raises UserError where one is at work on it or waits to be.
    """
    record = record_of(wanted)
    stage = stage_called(record.settings.stage)
    for folder in _candidates(wanted):
        try:
            found = read_stage(folder)
        except UserError:
            continue
        if found is None or not _same(found, record, folder):
            continue
        results = read_results(folder)
        if results is not None and (stage.settings.output != "final" or folder.final.is_dir()):
            return folder
        state = run_state(folder, read_record(folder)).state
        if state in {"queued", "running"}:
            raise UserError(
                f"run {folder.root.name} does the same and is {state}",
                f"wait for it: hpclaunch logs -f {quote(folder.root.name)}; or add --force",
            )
    return None


def _candidates(wanted: StageRequest) -> Iterator[RunFolder]:
    runs_dir, stem = runs_dir_of(wanted), default_name(wanted)
    numbered = re.compile(rf"{re.escape(stem)}(-[0-9]+)?")
    try:
        names = [path.name for path in runs_dir.iterdir()]
    except OSError:
        return
    for name in sorted(names):
        if name == wanted.request.name or numbered.fullmatch(name):
            folder = RunFolder(runs_dir / name)
            # Of a folder that many share: weights of another's are not taken for one's own.
            if folder.record.is_file() and is_own(folder):
                yield folder


def _same(found: StageRecord, wanted: StageRecord, folder: RunFolder) -> bool:
    """Return whether a run is of the same stage, settings and weights."""
    if found.settings != wanted.settings or len(found.sources) != len(wanted.sources):
        return False
    results = read_results(folder)
    read = results.fingerprints if results else ()
    for at, (one, other) in enumerate(zip(found.sources, wanted.sources, strict=True)):
        seen = read[at] if at < len(read) else one.fingerprint
        if _named(one) != _named(other) or seen != other.fingerprint:
            return False
    return True


def _named(source: Source) -> Source:
    """Return a source without what tells one set of its weights from another."""
    return msgspec.structs.replace(source, fingerprint="")
