"""What a stage takes: from what was typed to a run's weights or a model, and what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from shlex import quote
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.recipe import library
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.find import find
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source, read_stage, training_run
from hpclaunch.run.weight_files import fingerprint, read_json
from hpclaunch.run.weights_config import check_adapter_config, check_model_config

ADAPTER_CONFIG = "adapter_config.json"
CONFIG = "config.json"
WRITES_SAME = "best"
"""The stage that leaves there what its source is: a model or an adapter."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_STEP = re.compile(r"step-[0-9]{1,12}")


@frozen
class KnownSource:
    """A source, and what its files say before anything is started."""

    source: Source
    weights: Path | None
    """Folder of the weights; None on the hub, and where a run has none yet."""
    adapter: Mapping[str, Any] | None = None
    """adapter_config.json, where the weights are an adapter."""
    config: Mapping[str, Any] | None = None
    """config.json of the model, where it is here."""
    recipe: Recipe | None = field(default=None, repr=False)
    """Of the training behind it; None of a model that is no run's, and where it is damaged."""
    shape_of: str = ""
    """Of weights that an earlier job of a chain makes: hub id or folder of a model of their shape.
    What they are put on is then not there yet either."""
    writes_model: bool = False
    """Of a run that is a stage: it leaves a whole model, whatever its own source is."""

    @property
    def is_adapter(self) -> bool | None:
        """Whether the weights are an adapter; None where that is not known yet."""
        if self.weights is not None and self.source.checkpoint is None:
            return self.adapter is not None
        if self.writes_model:
            return False
        if self.recipe is not None:
            return self.recipe.method.kind != "full"
        return None

    @property
    def base(self) -> str | None:
        """The base model's folder or hub id, where the weights are an adapter and it is known."""
        if self.adapter is not None:
            name = self.adapter.get("base_model_name_or_path")
            return name if isinstance(name, str) and name else None
        if self.is_adapter and self.recipe is not None:
            return self.recipe.model.name
        return None


def resolve(
    reference: str | None,
    *,
    checkpoint: str | None = None,
    revision: str | None = None,
    pending: bool = False,
    gguf: bool = False,
) -> KnownSource:
    """Return the source that is meant: a run by its name, folder or job id, a model's folder or id.

    Without one, the newest run. Of a run without final weights it is the newest checkpoint, or the
    one called `checkpoint` (`step-N`). `pending`: a run that has no weights yet will have final
    ones when the stage runs. `gguf`: weights as GGUF will do. Raises UserError.
    """
    if reference is not None and _is_model(reference):
        if checkpoint:
            raise UserError(f"{reference} is a model and has no checkpoints", "name a run")
        return _model(reference, revision)
    try:
        folder, _ = find(reference)
    except UserError:
        if reference is None or not _is_hub_id(reference):
            raise
        return _model(reference, revision)
    if revision:
        raise UserError(f"--revision is of a model on the hub, and {reference} is a run")
    return _run(folder, checkpoint, pending=pending, gguf=gguf)


def _is_model(reference: str) -> bool:
    """Return whether a reference names a model's folder, or a model that comes with the package."""
    if reference in library.BUILTIN_MODELS:
        return True
    try:
        folder = Path(reference).expanduser()
        if (folder / "run.json").is_file():
            return False
        return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))
    except (OSError, ValueError, RuntimeError):
        return False


def _is_hub_id(reference: str) -> bool:
    return "/" in reference and bool(_HUB_ID.fullmatch(reference)) and not Path(reference).exists()


def _model(reference: str, revision: str | None) -> KnownSource:
    if _is_hub_id(reference) or reference in library.BUILTIN_MODELS:
        name = reference.rpartition("/")[2].rpartition(":")[2]
        return KnownSource(Source(name=name, model=reference, revision=revision), None)
    folder = Path(reference).expanduser().resolve()
    if revision:
        raise UserError(f"--revision is of a model on the hub, and {reference} is a folder")
    _require_safetensors(folder)
    source = Source(name=folder.name, model=str(folder), fingerprint=fingerprint(folder))
    return _known(source, folder, None)


def _run(folder: RunFolder, checkpoint: str | None, *, pending: bool, gguf: bool) -> KnownSource:
    name, root = folder.root.name, str(folder.root)
    stage = read_stage(folder)
    training = training_run(folder)
    recipe = None if training is None else _recipe(training)
    if stage is not None and stage.settings.output != "final":
        raise UserError(
            f"run {name} is the stage {stage.settings.stage}, which leaves no model",
            "name the run or the model that it was of",
        )
    whole = stage is not None and stage.settings.stage != WRITES_SAME
    if checkpoint is not None and not _STEP.fullmatch(checkpoint):
        raise UserError(f"'{checkpoint}' is no checkpoint's name", "write step-N")
    if checkpoint is None and folder.final.is_dir():
        if not (gguf and any(folder.final.glob("*.gguf"))):
            _require_safetensors(folder.final)
        source = Source(name=name, run=root, fingerprint=fingerprint(folder.final))
        return _known(source, folder.final, recipe)
    if checkpoint is None and pending:
        source = Source(name=name, run=root)
        return KnownSource(source, None, recipe=recipe, writes_model=whole)
    there = checkpoints(folder)
    taken = checkpoint or next(reversed(there), None)
    if taken is None:
        raise UserError(
            f"run {name} has no weights yet: neither final/ nor a checkpoint",
            f"see how far it is: hpclaunch status {quote(name)}",
        )
    if taken not in there:
        raise UserError(
            f"run {name} has no checkpoint {taken}", f"there: {', '.join(there) or 'none'}"
        )
    where = folder.checkpoints / taken
    source = Source(name=name, run=root, checkpoint=taken, fingerprint=fingerprint(where))
    return KnownSource(source, where, recipe=recipe)


def checkpoints(folder: RunFolder) -> list[str]:
    """Return the names of a run's checkpoints, the oldest first."""
    try:
        names = [path.name for path in folder.checkpoints.iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted((n for n in names if _STEP.fullmatch(n)), key=lambda n: int(n[5:]))


def _known(source: Source, weights: Path, recipe: Recipe | None) -> KnownSource:
    adapter, config = read_json(weights / ADAPTER_CONFIG), read_json(weights / CONFIG)
    if adapter is not None:
        check_adapter_config(adapter, weights / ADAPTER_CONFIG)
    if config is not None:
        check_model_config(config, weights / CONFIG)
    return KnownSource(source, weights, adapter, config, recipe)


def _recipe(folder: RunFolder) -> Recipe | None:
    """Return what a run was trained with; None where the file is damaged or its files are gone."""
    try:
        return load(str(folder.recipe))
    except UserError:
        return None


def _require_safetensors(folder: Path) -> None:
    """Refuse a folder whose weights are pickles, or that has none. Raises UserError."""
    if any(folder.glob("*.gguf")):
        raise UserError(f"{folder} holds GGUF, for llama.cpp", "take the model it was made from")
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} has no *.safetensors; other weight files can hold code",
            "convert them: load the model and call save_pretrained",
        )
