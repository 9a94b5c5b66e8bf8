"""Evaluate a model, and its base, by lm-evaluation-harness; each process its share of requests."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.harness import tasks
from hpclaunch.run.evaluations import Evaluation, Score, Scores, finite, write_evaluation
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.stage import Source
from hpclaunch.run.stage_settings import Eval
from hpclaunch.run.waiting import end_waiting
from hpclaunch.train import phases
from hpclaunch.train.failure import one_line
from hpclaunch.train.process import large_imports
from hpclaunch.train.progress_bars import PhaseBar
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.stages.inputs import Weights
from hpclaunch.train.stages.models import import_libraries, load_model, load_tokenizer
from hpclaunch.train.stages.run import StageRun, stage_program


def evaluate(run: StageRun) -> dict[str, Any]:
    """Return the scores of the first source and of its base, the second, for results.json."""
    settings: Eval = run.settings
    import_libraries()
    phases.begin("eval: importing lm-evaluation-harness")
    with large_imports():
        import lm_eval.evaluator
        import lm_eval.models.huggingface  # noqa: F401
        from accelerate import Accelerator
    accelerator = Accelerator()
    _quieten()
    manager = _task_manager(settings)
    found = [_scores(run, source, settings, accelerator, manager) for source in run.record.sources]
    if not accelerator.is_main_process:
        return {}
    tuned, *bases = found
    source = run.record.sources[0]
    evaluation = Evaluation(
        name=run.folder.root.name,
        created=round(time.time(), 3),
        model=source.name,
        checkpoint=source.checkpoint,
        tasks=settings.tasks,
        scores=_read_scores(tuned["results"]),
        base=_read_scores(bases[0]["results"]) if bases else {},
        base_model=run.record.sources[1].name if bases else None,
        higher_is_better=_read_directions(tuned.get("higher_is_better")),
        rows=_read_counts(tuned.get("n-samples")),
        limit=settings.limit,
        fewshot=settings.fewshot,
        chat=settings.chat,
        harness=metadata.version("lm_eval"),
    )
    _keep(source, evaluation)
    values: dict[str, Any] = msgspec.to_builtins(evaluation)
    return values


def _quieten() -> None:
    """Have the harness's progress bars tell the phase, and its warnings say nothing."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    for name, module in list(sys.modules.items()):
        if name.startswith("lm_eval.") and hasattr(module, "tqdm"):
            module.tqdm = PhaseBar  # type: ignore[attr-defined]  # as they imported it
    sys.modules["lm_eval.evaluator"].get_git_commit_hash = lambda: None  # type: ignore[attr-defined]  # looked up in its module


def _task_manager(settings: Eval) -> Any:
    """Return what knows the requested tasks: reading all that there are takes half a minute."""
    from lm_eval.tasks import TaskManager

    folders = [tasks.harness_folder(Path(sys.prefix)) / "tasks"]
    folders += [Path(settings.tasks_dir)] if settings.tasks_dir else []
    files = tasks.needed_files(settings.tasks, tasks.read_index(folders))
    needed = sorted({path.parent for path in files}, key=lambda path: len(path.parts))
    return TaskManager(include_path=[str(path) for path in needed], include_defaults=False)


def _scores(
    run: StageRun, source: Source, settings: Eval, accelerator: Any, manager: Any
) -> dict[str, Any]:
    """Return the harness's results for a source; on the first process alone. Collective."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models import huggingface

    weights = _open(run, source, accelerator)
    tokenizer = load_tokenizer(weights)
    model = load_model(weights, len(tokenizer), _device(accelerator))
    language_model = huggingface.HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=settings.batch
    )
    # The harness shares work among processes of one node's GPUs alone, and of models that it loads.
    language_model.accelerator = accelerator
    language_model._rank = accelerator.process_index
    language_model._world_size = accelerator.num_processes
    phases.begin(f"evaluating {source.name}")
    results = simple_evaluate(
        model=language_model,
        tasks=list(settings.tasks),
        num_fewshot=settings.fewshot,
        limit=settings.limit,
        task_manager=manager,
        log_samples=False,
        apply_chat_template=settings.chat,
    )
    return results or {}


def _device(accelerator: Any) -> str:
    """Return where the model goes: a process that is alone with several GPUs spreads it over them.

    It is started so where one GPU cannot hold a copy.
    """
    import torch

    if accelerator.device.type == "cpu":
        return "cpu"
    alone = accelerator.num_processes == 1 and torch.cuda.device_count() > 1
    return "gpu" if alone else str(accelerator.device)


def _open(run: StageRun, source: Source, accelerator: Any) -> Weights:
    """Return where a source's weights lie: one process puts those of a checkpoint together."""
    found: list[Any] = [run.open(source) if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        import torch.distributed as dist

        dist.broadcast_object_list(found, src=0)
    weights: Weights = found[0]
    return weights


def _read_scores(results: Mapping[str, Mapping[str, Any]]) -> Scores:
    """Return the scores of the harness's table: `acc,none` beside `acc_stderr,none`."""
    scores: Scores = {}
    for task, values in results.items():
        for key, value in values.items():
            metric, _, kind = key.partition(",")
            number = finite(value)
            if not kind or metric.endswith("_stderr") or number is None:
                continue
            name = metric if kind == "none" else f"{metric} ({kind})"
            error = finite(values.get(f"{metric}_stderr,{kind}"))
            scores.setdefault(task, {})[name] = Score(value=number, stderr=error)
    return scores


def _read_directions(found: Any) -> dict[str, dict[str, bool]]:
    return {
        task: {metric: better for metric, better in metrics.items() if isinstance(better, bool)}
        for task, metrics in (found or {}).items()
    }


def _read_counts(found: Any) -> dict[str, int]:
    return {task: int(counts["effective"]) for task, counts in (found or {}).items()}


def _keep(source: Source, evaluation: Evaluation) -> None:
    """Keep the evaluation in the evaluated run's folder, too, where that may be written."""
    if source.run is None:
        return
    try:
        write_evaluation(RunFolder(Path(source.run)), evaluation)
        if source.checkpoint is not None:
            end_waiting(RunFolder(Path(source.run)), source.checkpoint)
    except OSError as error:
        log_line(f"the scores are not kept in {source.run}: {one_line(error)}")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    stage_program(evaluate)
