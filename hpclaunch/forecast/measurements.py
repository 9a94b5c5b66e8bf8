"""What is known of a GPU type at a site: what preflight kept, and how fast earlier runs went."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.predict.architecture import Architecture
from hpclaunch.predict.compare import candidate_of, with_candidate
from hpclaunch.predict.from_recipe import training_step_of
from hpclaunch.predict.hardware import MeasuredHardware, SpeedFit, fit_speed, hardware_of
from hpclaunch.predict.memory import GIB
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import read_last_events
from hpclaunch.run.find import default_runs_dir, index_file, known
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.site.load import GENERIC, gpus, load_site
from hpclaunch.site.measured import measured, name_at
from hpclaunch.slurm.commands import cluster_name

LISTED = 200
"""Newest runs of this user whose records are read."""
LOOKED_AT = 20
"""Of these, runs of the kind that are looked at before a plan."""
STEPS = 5
"""Steps that a run must have done for its step time to count; the first is never counted."""


@frozen
class CheckpointRate:
    """How fast checkpoints are written at a site."""

    gb_s: float
    """10^9 bytes a second, all ranks together."""
    run: str
    """Which run did."""


def checkpoint_rate_at(site: str, size: int) -> CheckpointRate | None:
    """Return the rate of the last checkpoint of the newest run that saved one at `site`.

    Of at least a tenth of `size` bytes: of a smaller one the time goes to files and not to bytes.
    """
    return _checkpoint_rate(site, size, _as_of(site))


@lru_cache(maxsize=LOOKED_AT)
def _checkpoint_rate(site: str, size: int, _as_of: tuple[Any, ...]) -> CheckpointRate | None:
    cluster = _cluster_of(site)
    for folder, run in _newest(lambda run: (run.site, _cluster_in(run)) == (site, cluster)):
        for held, seconds in _saved(folder.events):
            if held >= size / 10:
                return CheckpointRate(held / seconds / 1e9, run.name)
    return None


def _saved(events: Path) -> tuple[tuple[int, float], ...]:
    """Return bytes and seconds of a run's last checkpoints, the newest first."""
    found = reversed(read_last_events(events, kind="checkpoint"))
    sizes = ((event.get("bytes"), event.get("seconds")) for event in found)
    return tuple(
        (held, seconds)
        for held, seconds in sizes
        if isinstance(held, int) and isinstance(seconds, int | float)
        and held > 0 and 0 < seconds < math.inf
    )  # fmt: skip


def measured_hardware(
    site: str, kind: str, recipe: Recipe, model: Architecture
) -> MeasuredHardware:
    """What was measured of `kind` at `site`. Raises UserError where its record is damaged."""
    return _measured(site, kind, recipe.model.name, recipe.method.kind, model, _as_of(site))


def _as_of(site: str) -> tuple[Any, ...]:
    """Return what changes with another run or cluster, and every ten seconds.

    What is kept is looked at anew then: a submission forecasts many layouts before that.
    """
    runs = _changed(default_runs_dir()), _changed(index_file())
    return int(time.monotonic() // 10), _cluster_of(site), *runs


@lru_cache(maxsize=LOOKED_AT)
def _measured(
    site: str, kind: str, name: str, method: str, model: Architecture, _as_of: tuple[Any, ...]
) -> MeasuredHardware:
    record = measured(name_at(site, _cluster_of(site)))
    found = MeasuredHardware(
        intra_node=record.inside.get(kind),
        inter_node=record.across.get(kind),
        host=record.host.get(kind),
    )
    for folder, run in _alike(site, kind):
        own = _recipe(folder)
        if own is None or (own.model.name, own.method.kind) != (name, method):
            continue
        events = read_last_events(folder.events)
        if not found.memory:
            found = replace(found, memory=_memory(run, events))
        fit = _fit_of(run, events, found, own, model)
        if fit != SpeedFit():
            return replace(found, fit=fit, run=f"as run {run.name} showed")
    return found


def _alike(site: str, kind: str) -> Iterator[tuple[RunFolder, Record]]:
    """Return the newest runs on that GPU type, the newest first."""
    wanted = (site, _cluster_of(site), kind)
    return _newest(lambda run: (run.site, _cluster_in(run), run.gpu) == wanted and not run.program)


def _cluster_of(site: str) -> str | None:
    """Return the cluster that tells apart what was measured at a site, None where the site does."""
    return cluster_name() if site == GENERIC else None


def _cluster_in(run: Record) -> str | None:
    return run.cluster if run.site == GENERIC else None


def _newest(wanted: Callable[[Record], bool]) -> Iterator[tuple[RunFolder, Record]]:
    """Return the newest runs that are wanted, the newest first."""
    place = default_runs_dir()
    runs = (
        each
        for each in _listed(place, (_changed(place), _changed(index_file())))
        if wanted(each[1])
    )
    yield from heapq.nlargest(LOOKED_AT, runs, key=lambda each: each[1].created)


@lru_cache(maxsize=2)
def _listed(place: Path, _changed: tuple[int, int]) -> tuple[tuple[RunFolder, Record], ...]:
    """Return the runs that are looked at: a submission forecasts several layouts, and reads once.

    `_changed`: when the folder and the index of runs last did; a new run changes either.
    """
    return tuple(known(place, LISTED))


def _changed(path: Path) -> int:
    """Return when a file or folder was last changed, in ns; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _recipe(folder: RunFolder) -> Recipe | None:
    """Read a run's recipe, None where that is no longer possible."""
    try:
        return load(str(folder.recipe), (), {})
    except (UserError, OSError):
        return None


def _memory(run: Record, events: Sequence[Mapping[str, Any]]) -> str:
    """Return what a run's fullest GPU took against what was predicted, '' where that is not known.

    Both are peaks of loading or of a step, whichever is higher.
    """
    memory: Mapping[str, Any] = next((e for e in reversed(events) if e["event"] == "memory"), {})
    sizes = [memory.get("allocated"), memory.get("loading_allocated", 0)]
    if run.prediction is None or not all(isinstance(size, int) for size in sizes):
        return ""
    return (
        f"{max(sizes) / GIB:.1f} GiB of tensors on a GPU where "
        f"{run.prediction.tensors / GIB:.1f} were predicted (run {run.name})"
    )


def _fit_of(
    run: Record,
    events: Sequence[Mapping[str, Any]],
    found: MeasuredHardware,
    own: Recipe,
    model: Architecture,
) -> SpeedFit:
    """Return what a run's steps tell."""
    steps = _steps(events)
    try:
        site = load_site(run.site)
    except UserError:
        return SpeedFit()
    if steps is None or run.gpu is None:
        return SpeedFit()
    seconds, tokens = steps
    candidate = candidate_of(own)
    if candidate.offload:
        return SpeedFit()
    done, replicas = with_candidate(
        training_step_of(own, model), candidate, run.nodes, run.processes_per_node
    )
    ranks = run.nodes * run.processes_per_node
    length = round(
        tokens / (ranks * candidate.micro_batch_size * candidate.gradient_accumulation_steps)
    )
    if not 0 < length <= done.seq_len:
        return SpeedFit()
    machine, _ = hardware_of(site, gpus()[run.gpu], run.nodes, run.processes_per_node, None, found)
    return fit_speed(replace(done, seq_len=length), replicas, machine, seconds)


def _steps(events: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Return seconds and tokens (of all ranks) of a step, the medians of those that were marked."""
    seconds, tokens, before = [], [], None
    for event in events:
        if event["event"] == "start":
            before = None
        if event["event"] != "step":
            continue
        try:
            step = int(event["step"])
            took, had = float(event["seconds"]), float(event["tokens"])
        except (KeyError, TypeError, ValueError):
            continue
        if before is not None and step > before:  # the first warms up, and loads its kernels
            seconds.append(took / (step - before))
            tokens.append(had / (step - before))
        before = step
    if len(seconds) < STEPS:
        return None
    import statistics  # for those who have a run to learn from

    return statistics.median(seconds), statistics.median(tokens)
