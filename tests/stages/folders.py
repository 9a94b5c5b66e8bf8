"""Folders of weights that no test loads: what a login node sees of them."""

from __future__ import annotations

import json
from pathlib import Path


def write_adapter(folder: Path, **changed: object) -> Path:
    """Write a LoRA adapter's folder for the model that comes with the package."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "init_lora_weights": True,
        "base_model_name_or_path": "builtin:tiny-llama",
        **changed,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def write_model(folder: Path) -> Path:
    """Write a model's folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def write_run(root: Path, weights: str = "adapter", **changed: object) -> Path:
    """Write a run folder with final weights: an `adapter`, a `model`, or '' for none."""
    from hpclaunch.recipe.load import load, to_yaml
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import Record, write_record

    folder = RunFolder(root)
    root.mkdir(parents=True)
    kind = "full" if weights == "model" else "lora"
    folder.recipe.write_text(to_yaml(load("tiny", [f"method.kind={kind}"])))
    record = Record(
        name=root.name,
        created=1.0,
        user="u",
        host="h",
        command=[],
        mode="sbatch",
        hpclaunch="0",
        recipe="tiny",
        site="generic",
        nodes=1,
        processes_per_node=1,
        device="cpu",
    )
    write_record(folder, record)
    if weights == "adapter":
        write_adapter(folder.final, **changed)
    elif weights == "model":
        write_model(folder.final)
    return root
