"""`python -m hpclaunch.train.stages.publish`: RUN/final of a run, with a card, to where others are.

The file by which a loader knows a model (config.json, adapter_config.json, the GGUF file) arrives
last, and the hub gets all in one commit: a copy that broke off is no model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.paths import is_local
from hpclaunch.run.evaluations import read_evaluations
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.run.removal import remove
from hpclaunch.run.stage import Source, read_results, read_stage, training_run
from hpclaunch.train import phases
from hpclaunch.train.stages.inputs import Weights, model_folder
from hpclaunch.train.stages.model_card import Facts, model_card
from hpclaunch.train.stages.model_files import files_to_publish
from hpclaunch.train.stages.run import StageRun, stage_program

CARD = "README.md"
LAST = ("config.json", "adapter_config.json")
REPORT_SECONDS = 120
"""How long the report of the training may take, from which the card has its energy."""


def publish(run: StageRun) -> dict[str, Any]:
    """Copy the weights and the card; return what arrived. Raises UserError, OSError."""
    settings, source = run.settings, run.record.sources[0]
    weights = run.open(source)
    folder = weights.adapter or model_folder(weights)
    copy = run.scratch / "publish"
    remove(copy)
    copy.mkdir(parents=True)
    published, left_out = files_to_publish(folder)
    for path in published:
        (copy / path.name).symlink_to(path.resolve())
    local_base = weights.adapter is not None and is_local(weights.model)
    if local_base:
        _hide_path(copy / "adapter_config.json")
    (copy / CARD).write_text(model_card(facts_of(source, weights, settings.license)), "utf-8")
    phases.begin(f"copying to {settings.url}")
    if settings.url.startswith("hf://"):
        where = _to_hub(copy, settings)
    else:
        where = _to_storage(copy, settings)
    names = sorted(path.name for path in copy.iterdir())
    return {
        "url": where,
        "files": names,
        "bytes": sum((copy / name).stat().st_size for name in names),
        "card": (copy / CARD).read_text("utf-8"),
        "local_base": local_base,
        "left_out": left_out,
    }


def _hide_path(config: Path) -> None:
    """Name an adapter's local base without the folders that lead to it on this machine."""
    document = json.loads(config.read_text("utf-8"))
    document["base_model_name_or_path"] = Path(document["base_model_name_or_path"]).name
    config.unlink()
    config.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _to_storage(copy: Path, settings: Any) -> str:
    """Copy to an address of fsspec, a file at a time; each is held against its size."""
    from hpclaunch.train.upload.remote import RemoteFolder

    remote = RemoteFolder(settings.url)
    there = remote.files()
    if there and not settings.replace:
        raise UserError(
            f"{settings.url} holds {len(there)} files already",
            "name another folder, or write over them: --replace",
        )
    for name in (each for each in LAST if each in there):
        remote.fs.rm_file(f"{remote.root}/{name}")  # what is half replaced is no model
    names = sorted((path.name for path in copy.iterdir()), key=_order)
    for number, name in enumerate(names, 1):
        remote.put((copy / name).resolve(), name)
        phases.count(number, len(names), "files")
    return str(settings.url)


def _order(name: str) -> tuple[bool, str]:
    return name in LAST or name.endswith(".gguf"), name


def _to_hub(copy: Path, settings: Any) -> str:
    """Copy to a repository of the hub, in one commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    name = settings.url.removeprefix("hf://").strip("/")
    api = HfApi()
    try:
        try:
            there = [each for each in api.list_repo_files(name) if each != ".gitattributes"]
        except RepositoryNotFoundError:
            there = []
        if there and not settings.replace:
            raise UserError(
                f"{settings.url} holds {len(there)} files already",
                "name another repository, or write over them: --replace",
            )
        api.create_repo(name, private=settings.private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=copy, commit_message="Upload by hpclaunch"
        )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = "log in with a token that may write: hf auth login" if status in {401, 403} else ""
        raise UserError(f"the hub refuses {name}: {' '.join(str(error).split())[:200]}", fix) from (
            error
        )
    return str(commit.commit_url)


def facts_of(source: Source, weights: Weights, license_id: str) -> Facts:
    """Return what the run folders know of a model."""
    known: dict[str, Any] = {"base": weights.model, "adapter": weights.adapter is not None}
    training = None
    if source.run is not None:
        training = training_run(RunFolder.at(source.run))
        known["stages"] = stages_of(RunFolder.at(source.run))
        known["evaluations"] = scores_of(RunFolder.at(source.run), training, source.checkpoint)
    if training is not None:
        record = read_record(training)
        known |= {
            "recipe": _recipe(training),
            "events": read_events(training.events),
            "figures": _figures(training),
            "ranks": record.nodes * record.processes_per_node,
            "gpu": record.gpu,
            "hpclaunch": record.hpclaunch,
        }
    return Facts(name=source.name, license=license_id, **known)


def scores_of(
    folder: RunFolder, training: RunFolder | None, checkpoint: str | None
) -> list[tuple[str, str]]:
    """Return the newest score of each task and metric, as label and text.

    Of whole evaluations of these very weights: the run's own, or else those of the training whose
    weights were merged or quantized since, which the label then says.
    """
    evaluations, since = read_evaluations(folder), ""
    if not evaluations and training is not None and training != folder:
        evaluations, since = read_evaluations(training), ", as it was trained"
    found: dict[str, str] = {}
    for evaluation in evaluations:
        if evaluation.limit is not None or evaluation.checkpoint != checkpoint:
            continue
        for task, metrics in evaluation.scores.items():
            for metric, score in metrics.items():
                error = "" if score.stderr is None else f" ± {score.stderr:.4f}"
                base = evaluation.base.get(task, {}).get(metric)
                before = "" if base is None else f", the base {base.value:.4f}"
                found[f"{task}, {metric}{since}"] = f"{score.value:.4f}{error}{before}"
    return list(found.items())


def _recipe(training: RunFolder) -> Any:
    try:
        return load(str(training.recipe))
    except UserError:  # its data or its model is not there any more
        return None


def stages_of(folder: RunFolder) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the stages between a training and a run, the first one first, with what they found."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    while (record := read_stage(folder)) is not None and len(found) < 20:
        results = read_results(folder)
        found.append((record.settings.stage, results.values if results else {}))
        run = record.sources[0].run if record.sources else None
        if run is None:
            break
        folder = RunFolder.at(run)
    return found[::-1]


def _figures(training: RunFolder) -> Mapping[str, Any]:
    """Return GPU-hours and energy of the training's report; nothing where there is no record."""
    command = [sys.executable, "-m", "hpclaunch.cli.main", "report", str(training.root), "--json"]
    try:
        done = subprocess.run(
            [*command, "--html", os.devnull],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=REPORT_SECONDS,
            check=False,
        )
        figures = json.loads(done.stdout)["metrics"]["figures"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return {}
    return figures if isinstance(figures, dict) else {}


if __name__ == "__main__":
    stage_program(publish)
