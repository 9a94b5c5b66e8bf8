"""The way from a recipe to weights that load, gone once in small, to the end or the first fault."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpclaunch.dataset.check import check_data
from hpclaunch.diagnose.why import why
from hpclaunch.errors import UserError
from hpclaunch.launch.attached import STOPPED
from hpclaunch.launch.check import check
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Changes, Request
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.start import execute
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.load import to_yaml
from hpclaunch.rehearse.result import Rehearsal, Stage
from hpclaunch.rehearse.small_model import small
from hpclaunch.render.job import Job
from hpclaunch.run.events import newest, read_events
from hpclaunch.run.find import default_runs_dir, find, next_name
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lines import Line
from hpclaunch.run.record import Record
from hpclaunch.slurm import batch, commands
from hpclaunch.units import count

Tell = Callable[[str], None]
Passed = Callable[[Stage], None]


class _Fault(Exception):
    """A stage that did not pass."""

    def __init__(self, cause: str, *advice: str) -> None:
        super().__init__(cause)
        self.advice = advice


class _Interrupted(Exception):
    """Ctrl-C, or a terminal that was closed."""


@dataclass
class _Way:
    """The stages so far, and what later ones need of earlier ones."""

    passed: Passed
    begins: Tell
    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; what is put into the list is what it says. Its fault ends the way."""
        began = time.monotonic()
        results: list[str] = []
        advice: tuple[str, ...] = ()
        self.begins(name)
        whole = False
        try:
            yield results
            whole = True
        except _Fault as fault:
            results, advice = [str(fault)], fault.advice
            raise
        except UserError as error:
            results, advice = [error.message], (error.fix,) if error.fix else ()
            raise _Fault(error.message) from None
        finally:
            if whole or results:
                took = time.monotonic() - began
                self.stages.append(Stage(name, whole, took, "; ".join(results), advice))
                self.passed(self.stages[-1])


def rehearse(
    request: Request,
    local: Resources,
    show: Callable[[Line], None] = lambda _: None,
    passed: Passed = lambda _: None,
    begins: Tell = lambda _: None,
    keep: bool = False,
) -> Rehearsal:
    """Go the whole way with a small model on this machine's `local` resources.

    `request` is the run that is meant. Every line of the training goes to `show`, every stage to
    `begins` and `passed`. The run folder is removed where all passed, unless it is to be kept.
    Raises UserError for what cannot even be tried.
    """
    if request.program:
        raise UserError(
            "a program of your own cannot be rehearsed in small",
            "try it for real: hpclaunch local --cpu-processes 2 -- PROGRAM",
        )
    began = time.monotonic()
    way = _Way(passed, begins)
    missing: list[str] = []
    interrupted = False
    folder: RunFolder | None = None
    with tempfile.TemporaryDirectory(prefix="hpclaunch-rehearsal-") as name:
        try:
            meant = _plan(way, request)
            model = _model(way, meant, Path(name) / "model")
            recipe, missing = small(
                meant.plan.recipe, model, "cpu" if local.cpu_processes else "gpu"
            )
            file = Path(name) / f"{recipe.name}.yaml"
            file.write_text(to_yaml(recipe), encoding="utf-8")
            requested = replace(
                request, mode="local", recipe=str(file), overrides=(), changes=Changes(),
                resources=local, site=None,
                name=next_name(request.runs_dir or default_runs_dir(), recipe.name),
            )  # fmt: skip
            job = draft(requested)
            folder = RunFolder(job.plan.launch.folder)
            record = _train_and_stop(way, job, show)
            _resume(way, folder, record, show)
            _load_back(way, folder, record)
        except _Fault:
            pass
        except _Interrupted:
            interrupted = True
    result = Rehearsal(
        tuple(way.stages), tuple(missing), None, time.monotonic() - began, interrupted
    )
    if folder is None or not folder.root.is_dir():
        return result
    if result.passed and not keep:
        shutil.rmtree(folder.root, ignore_errors=True)
        return result
    return replace(result, folder=folder.root)


def _plan(way: _Way, request: Request) -> Job:
    """Plan the run that is meant, and let Slurm look at its script where there is one."""
    with way.stage("plan") as results:
        job = draft(request)
        data_lines: list[str] = []
        check(job, lambda recipe: data_lines.extend(check_data(recipe)))
        plan = job.plan
        where = f"{plan.nodes}x{plan.processes_per_node} processes"
        results.append(f"{plan.recipe.method.kind} of {plan.recipe.model.name} on {where}")
        results.extend(data_lines)
        results.extend(f"note: {note.evidence}" for note in plan.notes)
    if request.mode != "local" and commands.available():
        with way.stage("script") as results:
            trial = batch.test_only(job.script, plan.launch.cwd)
            if trial.verdict == "refused":
                raise _Fault(f"Slurm refuses this job: {trial.message}")
            results.append(f"Slurm: {trial.message}")
    return job


def _model(way: _Way, meant: Job, folder: Path) -> Path:
    """Build the small model in the job's Python."""
    model = meant.plan.recipe.model
    with way.stage("model") as results:
        words = [
            "hpclaunch.train.simulation.shrink",
            model.name,
            str(folder),
            "--dtype",
            model.dtype,
        ]
        if model.revision:
            words += ["--revision", model.revision]
        found: dict[str, Any] = json.loads(_python(meant.plan.launch.python.path, *words))
        results.append(
            f"{found['layers']} layers of its architecture, {count(found['parameters'])} parameters"
        )
    return folder


def _train_and_stop(way: _Way, job: Job, show: Callable[[Line], None]) -> Record:
    """Train until the stop that a time limit or a preemption would bring."""
    folder = RunFolder(job.plan.launch.folder)
    with way.stage("train and stop") as results:
        stop_requested: list[bool] = []

        def watch(line: Line) -> None:
            show(line)
            if not stop_requested and newest(read_events(folder.events), "data"):
                stop_requested.append(True)
                _, at_work = find(str(folder.root))
                if at_work.pid is not None:  # what Slurm sends a batch script before a preemption
                    os.kill(at_work.pid, signal.SIGUSR1)

        code = execute(job, lambda _folder, _record: watch)
        _, record = find(str(folder.root))
        _check_end(folder, record, code)
        stop = newest(read_events(folder.events), "stop")
        saved = newest(read_events(folder.events), "checkpoint")
        if stop is None or saved is None:
            raise _Fault("it was asked to stop, and came to its end without", "look at the log")
        losses = [m.get("loss") for m in read_events(folder.events) if m["event"] == "step"]
        results.append(
            f"stopped after step {stop['step']}, loss {_number(losses[-1] if losses else None)}"
        )
        results.append(
            f"a checkpoint of {saved['bytes'] / 1e6:,.1f} MB in {saved['seconds']:.1f} s"
        )
    return record


def _resume(way: _Way, folder: RunFolder, before: Record, show: Callable[[Line], None]) -> None:
    """Go on from the checkpoint to the end."""
    with way.stage("resume") as results:
        events = read_events(folder.events)
        stopped = newest(events, "stop")
        job = redraft(folder, before)
        code = execute(job, lambda _folder, _record: show, before)
        _, record = find(str(folder.root))
        _check_end(folder, record, code)
        later = read_events(folder.events)[len(events) :]
        steps = [event["step"] for event in later if event["event"] == "step"]
        first = stopped["step"] + 1 if stopped else 1
        if not steps or steps[0] != first:
            raise _Fault(
                f"it stopped after step {first - 1} and went on with step "
                f"{steps[0] if steps else 'none'}",
                "keep the folder and report this: it is a fault of hpclaunch",
            )
        results.append(f"steps {steps[0]} to {steps[-1]}")


def _load_back(way: _Way, folder: RunFolder, record: Record) -> None:
    """Load the final weights as whoever takes them away would."""
    with way.stage("load back") as results:
        size = sum(file.stat().st_size for file in folder.final.rglob("*") if file.is_file())
        adapter = (folder.final / "adapter_config.json").is_file()
        words = ["hpclaunch.train.sample", str(folder.root), "--tokens", "4"]
        _python(Path(record.python), *words)
        kind = "PEFT loads the adapter" if adapter else "Transformers loads the model"
        results.append(f"{kind} ({size / 1e6:,.1f} MB) and writes with it")


def _check_end(folder: RunFolder, record: Record, code: int) -> None:
    """Raise what ended a training early: its cause, as `hpclaunch why` tells it."""
    if code == STOPPED:
        raise _Interrupted
    if code != 0:
        cause = why(folder, record).cause
        raise _Fault(cause.line, *cause.advice)


def _python(environment: Path, module: str, *words: str) -> str:
    """Run a module in the job's Python; gives its last line. Raises _Fault with its own words."""
    done = subprocess.run(
        [str(environment / "bin/python"), "-P", "-m", module, *words],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines else f"exit code {done.returncode}"
        raise _Fault(cause.removeprefix("hpclaunch: "))
    return (done.stdout.strip().splitlines() or [""])[-1]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "unknown"
