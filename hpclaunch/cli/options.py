"""Options that several commands share: groups of fields that a command takes as one value."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hpclaunch.cluster.request import Changes
from hpclaunch.plan.request import Resources
from hpclaunch.recipe.schema import MethodKind, Sharding

Fsdp = Literal["1", "2"]


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


@dataclass(frozen=True)
class RecipeOptions:
    """What is changed in the recipe."""

    method: Annotated[MethodKind | None, _option("--method", help="What is trained.")] = None
    model: Annotated[
        str | None, _option("--model", help="Hub id or folder, in place of the recipe's.")
    ] = None
    dataset: Annotated[
        str | None, _option("--dataset", help="Hub id or file, in place of the recipe's.")
    ] = None


@dataclass(frozen=True)
class ShardingOptions:
    """How the model is spread."""

    fsdp: Annotated[Fsdp | None, _option("--fsdp", help="FSDP's version; 2 by default.")] = None
    sharding: Annotated[
        Sharding | None,
        _option(
            "--sharding",
            help="full: over all ranks. hybrid: inside a node, copies across. grad: gradients and "
            "optimizer only. none: a copy on every rank.",
        ),
    ] = None
    offload: Annotated[
        bool | None, _option("--offload/--no-offload", help="Keep shards in host memory.")
    ] = None
    checkpointing: Annotated[
        bool | None,
        _option("--checkpointing/--no-checkpointing", help="Recompute activations: less memory."),
    ] = None


@dataclass(frozen=True)
class NodeOptions:
    """What is asked for on each node."""

    nodes: Annotated[int, _option("--nodes", help="Nodes; 1 by default.")] = 1
    gpus: Annotated[int | None, _option("--gpus", help="GPUs a node.")] = None
    gpu: Annotated[
        str | None, _option("--gpu", help="Kind, as a100_80; an unknown one lists all.")
    ] = None
    cpu_processes: Annotated[
        int | None,
        _option("--cpu-processes", help="Train on CPUs instead, with so many processes a node."),
    ] = None
    port: Annotated[
        int | None, _option("--port", help="Rendezvous port; by default one from the job id.")
    ] = None


@dataclass(frozen=True)
class QueueOptions:
    """What Slurm is told beside the nodes."""

    site: Annotated[
        str | None, _option("--site", help="Site profile; by default the cluster's own.")
    ] = None
    account: Annotated[str | None, _option("--account", help="Account to charge.")] = None
    qos: Annotated[str | None, _option("--qos", help="Quality of service.")] = None
    partition: Annotated[str | None, _option("--partition", help="Partition.")] = None
    time: Annotated[str | None, _option("--time", help="Time limit, as 3:00:00 or 1-12:00:00.")] = (
        None
    )
    mem: Annotated[str | None, _option("--mem", help="Host memory a node, as 480G; 0 is all.")] = (
        None
    )
    cpus: Annotated[int | None, _option("--cpus", help="CPU cores a node.")] = None
    module: Annotated[
        list[str] | None, _option("--module", help="Environment module to load; repeatable.")
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """The run's name and place."""

    name: Annotated[str | None, _option("--name", help="The run's name; by default RECIPE-N.")] = (
        None
    )
    runs_dir: Annotated[
        Path | None,
        _option("--runs-dir", help="Where run folders go; $HPCLAUNCH_RUNS_DIR or ./runs."),
    ] = None
    venv: Annotated[
        Path | None, _option("--venv", help="Python environment of the job; by default this one.")
    ] = None


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE ...]", help="Recipe name or file, and changes to it."
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Run name, folder or job id; by default the newest."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command's parameters of a group type appear as that group's options."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    plain = inspect.signature(command).parameters

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, group in groups.items():
            fields = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**fields)  # type: ignore[operator]  # a class: the hint says so
        command(**given)

    parameters = []
    for name, parameter in plain.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        inner = typing.get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=inner[field.name],
            )
            for field in dataclasses.fields(groups[name])
        ]
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    flat.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # read by typer
    flat.__annotations__ = {p.name: p.annotation for p in keyword}
    return flat


def changes(recipe: RecipeOptions, sharding: ShardingOptions) -> Changes:
    """Gather the recipe's changes."""
    return Changes(
        method=recipe.method,
        model=recipe.model,
        dataset=recipe.dataset,
        fsdp=None if sharding.fsdp is None else (1 if sharding.fsdp == "1" else 2),
        sharding=sharding.sharding,
        offload=sharding.offload,
        checkpointing=sharding.checkpointing,
    )


def resources(nodes: NodeOptions, queue: QueueOptions | None = None) -> Resources:
    """Gather what the run needs."""
    queue = queue or QueueOptions()
    return Resources(
        nodes=nodes.nodes,
        gpus=nodes.gpus,
        gpu=nodes.gpu,
        cpu_processes=nodes.cpu_processes,
        port=nodes.port,
        time=queue.time,
        mem=queue.mem,
        cpus=queue.cpus,
        account=queue.account,
        qos=queue.qos,
        partition=queue.partition,
    )
