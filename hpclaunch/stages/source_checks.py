"""Sources that a stage cannot take, whatever its settings: refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.paths import is_local
from hpclaunch.run.weight_files import read_json
from hpclaunch.stages.source import KnownSource


def check_sources(sources: Sequence[KnownSource]) -> None:
    """Refuse an adapter whose base is a folder that is not there. Raises UserError."""
    for known in sources:
        base = known.base
        if base is None or known.shape_of or base.startswith("builtin:") or not is_local(base):
            continue
        if read_json(Path(base) / "config.json") is None:
            raise UserError(
                f"{known.source.name} is an adapter for {base}, which is no model's folder here",
                "put the base model back there, or name the right one in base_model_name_or_path "
                f"of {known.weights}/adapter_config.json",
            )


def refuse_scorers(stage: str, sources: Sequence[KnownSource]) -> None:
    """Refuse a reward model: it gives a score where a stage needs words. Raises UserError."""
    for known in sources:
        named = (known.config or {}).get("architectures")
        scores = (known.adapter or {}).get("task_type") == "SEQ_CLS" or any(
            "ForSequenceClassification" in str(each)
            for each in (named if isinstance(named, list) else [])
        )
        if scores or (known.recipe is not None and known.recipe.objective_spec.scores):
            raise UserError(
                f"{known.source.name} is a reward model, which scores answers and writes none: "
                f"{stage} does not take it",
                "see its scores: python -P -m hpclaunch.train.sample RUN; or publish it as it is",
            )
