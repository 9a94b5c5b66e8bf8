"""What stands beside a run: runs of stages, a pipeline and a sweep, as small as they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record, write_record
from hpclaunch.run.stage import Source, StageRecord, StageResults, stage_text, write_results
from hpclaunch.run.stage_settings import Best, Eval, Generate, Merge, Publish, Quantize, Settings

STAGES: dict[str, tuple[Settings, dict[str, Any]]] = {
    "merge": (
        Merge(),
        {"bytes": 7, "files": 1, "untied": True, "logits": {"max": 0.1, "kl": 0.01}},
    ),
    "generate": (
        Generate(prompts=("a",)),
        {"texts": [{"prompt": "a", "text": "b", "finished": True}], "tokens": 3,
         "tokens_per_second": 2.5, "device": "cpu", "dtype": "float32", "loading_seconds": 1.0},
    ),
    "quantize": (
        Quantize(to="gguf"),
        {"bytes": 7, "bytes_before": 9, "type": "q8_0", "perplexity_before": 2.0,
         "perplexity_after": 2.1, "files": 1},
    ),
    "publish": (
        Publish(url="file:///x"),
        {"url": "file:///x", "files": ["a"], "bytes": 3, "left_out": ["b"], "local_base": True},
    ),
    "eval": (
        Eval(tasks=("arc",)),
        {"name": "e", "created": 1.0, "model": "m", "tasks": ["arc"],
         "scores": {"arc": {"acc": {"value": 0.5, "stderr": 0.1}}}},
    ),
    "best": (
        Best(task="arc"),
        {"checkpoint": "step-5", "task": "arc", "metric": "acc", "value": 0.5,
         "higher_is_better": True, "scores": {"step-5": 0.5, "step-10": 0.25},
         "left_out": ["step-15"]},
    ),
}  # fmt: skip
"""Settings and results of each stage."""


def add_groups(run: RunFolder) -> None:
    """Write them beside a run, which they are of."""
    record, runs = read_record(run), run.root.parent
    for name, (settings, values) in STAGES.items():
        folder = RunFolder(runs / name)
        folder.root.mkdir()
        write_record(folder, msgspec.structs.replace(record, name=name, stage=name))
        source = Source(name=run.root.name, run=str(run.root), fingerprint="f")
        # msgspec takes the settings by their tag.
        settings_document = json.loads(msgspec.json.encode(settings))
        made = msgspec.convert(
            {"sources": [msgspec.to_builtins(source)], "settings": settings_document}, StageRecord
        )
        folder.stage.write_text(stage_text(made))
        write_results(
            folder, StageResults(stage=name, fingerprints=("f",), seconds=1.0, values=values)
        )
    stages = [
        {"name": "train", "run": run.root.name, "kind": "recipe", "after": []},
        {"name": "merge", "run": "merge", "kind": "merge", "after": ["train"]},
        {"name": "later", "run": "later", "kind": "command", "after": ["merge"]},
    ]
    common: dict[str, Any] = {"created": 1.0, "command": ["hpclaunch"]}
    _write(
        runs / "chain/pipeline.json",
        common | {"mode": "local", "file": str(runs / "chain.yaml"), "stages": stages},
    )
    (runs / "chain/pipeline.yaml").write_text("stages: {train: {recipe: tiny}}\n")
    values = {"training.seed": "1"}
    _write(
        runs / "many/sweep.json",
        common
        | {"parallel": 1, "parameters": {"training.seed": ["1"]},
           "runs": [{"name": run.root.name, "values": values}]},
    )  # fmt: skip


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(document))
