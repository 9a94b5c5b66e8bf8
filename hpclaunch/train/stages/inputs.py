"""Where a stage's source lies when the stage runs: a model, or an adapter and its base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hpclaunch.errors import UserError
from hpclaunch.recipe.paths import is_local
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source
from hpclaunch.run.weight_files import fingerprint, read_json
from hpclaunch.run.weights_config import check_adapter_config, check_model_config
from hpclaunch.train import phases, tiny_llama


@dataclass(frozen=True)
class Weights:
    """A source, found."""

    name: str
    model: str
    """Folder or hub id of the whole model; of an adapter, of its base."""
    revision: str | None
    """Of the model on the hub."""
    adapter: Path | None
    """Folder of the adapter; None where the model is whole."""
    fingerprint: str

    @property
    def tokenizer(self) -> str:
        """Folder or hub id of the tokenizer: the adapter's own where it has one."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return str(self.adapter)
        return self.model


def open_source(source: Source, scratch: Path) -> Weights:
    """Return where a source's weights lie. A checkpoint's are put together in `scratch`.

    Raises UserError where they are not there.
    """
    if source.run is None:
        model = source.model or ""
        if model.startswith("builtin:"):
            return Weights(source.name, str(tiny_llama.folder_of(model)), None, None, "")
        if not is_local(model):
            return Weights(source.name, model, source.revision, None, "")
        return _in_folder(source, Path(model), Path(model))
    run = RunFolder(Path(source.run))
    if source.checkpoint is None:
        if not run.final.is_dir():
            raise UserError(
                f"run {source.name} has no final weights",
                f"see why: hpclaunch why {quote(source.name)}",
            )
        return _in_folder(source, run.final, run.final)
    from hpclaunch.train.stages.checkpoint_weights import whole_weights

    checkpoint = run.checkpoints / source.checkpoint
    if not checkpoint.is_dir():
        raise UserError(f"run {source.name} has no checkpoint {source.checkpoint} any more")
    return _in_folder(source, whole_weights(run, checkpoint, scratch), checkpoint)


def _in_folder(source: Source, folder: Path, identified: Path) -> Weights:
    """Return the weights of a folder; `identified` is the one they are told from others by."""
    mark = fingerprint(identified)
    if not (folder / "adapter_config.json").is_file():
        if not (folder / "config.json").is_file() and not any(folder.glob("*.gguf")):
            raise UserError(f"{folder} is no model folder: it has no config.json")
        check_model_config(read_json(folder / "config.json") or {}, folder / "config.json")
        return Weights(source.name, str(folder), None, None, mark)
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{folder} has no adapter_model.safetensors: its adapter is not complete")
    config = read_json(folder / "adapter_config.json") or {}
    check_adapter_config(config, folder / "adapter_config.json")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{folder}/adapter_config.json names no base_model_name_or_path")
    revision = config.get("revision")
    return Weights(
        source.name,
        str(tiny_llama.folder_of(base)) if base.startswith("builtin:") else base,
        revision if isinstance(revision, str) and not is_local(base) else None,
        folder,
        mark,
    )


def model_folder(weights: Weights) -> Path:
    """Return the folder of the whole model's files, fetched from the hub where it is not here."""
    if is_local(weights.model):
        return Path(weights.model)
    from huggingface_hub import snapshot_download

    from hpclaunch.train.hub import explain

    with phases.phase(f"downloading {weights.model}"), explain("model", weights.model):
        return Path(
            snapshot_download(
                weights.model,
                revision=weights.revision,
                allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"],
                ignore_patterns=["original/*", "*/*"],
            )
        )
