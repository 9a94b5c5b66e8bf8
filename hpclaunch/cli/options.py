"""Options that several commands share: groups of fields that a command takes as one value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hpclaunch.site.sbatch_options import SbatchOptions

if TYPE_CHECKING:
    from hpclaunch.recipe.schema import MethodKind, Sharding

Command = Callable[..., int | None]


def _option(*names: str, default: Any = None, **how: Any) -> Any:
    """Return a field that is an option of the command line."""
    return field(default=default, metadata={"names": names, "how": how})


@dataclass(frozen=True)
class RecipeOptions:
    """What is changed in the recipe."""

    method: MethodKind | None = _option(
        "--method", type=click.Choice(["full", "lora", "qlora"]), help="What is trained."
    )
    model: str | None = _option("--model", help="Hub id or folder, in place of the recipe's.")
    dataset: str | None = _option("--dataset", help="Hub id or file, in place of the recipe's.")


@dataclass(frozen=True)
class ShardingOptions:
    """How the model is spread."""

    fsdp: Literal["1", "2"] | None = _option(
        "--fsdp", type=click.Choice(["1", "2"]), help="FSDP's version; 2 by default."
    )
    sharding: Sharding | Literal["auto"] | None = _option(
        "--sharding",
        type=click.Choice(["full", "hybrid", "grad", "none", "auto"]),
        help="full: over all ranks. hybrid: inside a node, copies across nodes. grad: gradients "
        "and optimizer only. none: a copy on every rank. auto: the fastest that fits.",
    )
    batch: Literal["auto"] | None = _option(
        "--batch",
        type=click.Choice(["auto"]),
        help="auto: as many samples at once as are fastest and fit; a step's samples stay.",
    )
    offload: bool | None = _option("--offload/--no-offload", help="Keep shards in host memory.")
    checkpointing: bool | None = _option(
        "--checkpointing/--no-checkpointing", help="Recompute activations: less memory, more time."
    )


@dataclass(frozen=True)
class NodeOptions:
    """What is asked for on each node."""

    nodes: int | None = _option(
        "--nodes", type=int, help="Nodes; by default 1, or all of the allocation you are in."
    )
    gpus: int | None = _option("--gpus", type=int, help="GPUs a node; 1 by default.")
    gpu: str | None = _option("--gpu", help="Kind, as a100_80; an unknown one lists all.")
    cpu_processes: int | None = _option(
        "--cpu-processes", type=int, help="Train on CPUs instead, so many processes a node."
    )
    port: int | None = _option(
        "--port", type=int, help="Rendezvous port; by default from the job id."
    )


@dataclass(frozen=True)
class SlurmOptions(SbatchOptions):
    """What Slurm is told beside the nodes."""

    site: str | None = _option("--site", help="Site profile; by default the cluster's own.")
    cpus: int | None = _option("--cpus", type=int, help="CPU cores a node.")
    max_restarts: int | None = _option(
        "--max-restarts", type=int, help="How often a stopped job goes on by itself; 50 by default."
    )
    sbatch_arguments: tuple[str, ...] = _option(
        "--sbatch-arg",
        default=(),
        multiple=True,
        help="Any other option of sbatch, as --sbatch-arg=--reservation=NAME; repeatable.",
    )
    module: tuple[str, ...] = _option(
        "--module", default=(), multiple=True, help="Environment module to load; repeatable."
    )


@dataclass(frozen=True)
class RunOptions:
    """The run's name and place."""

    name: str | None = _option("--name", help="The run's name; by default RECIPE-N.")
    runs_dir: Path | None = _option(
        "--runs-dir",
        type=click.Path(path_type=Path),
        help="Where run folders go; by default $HPCLAUNCH_RUNS_DIR, or ./runs.",
    )
    venv: Path | None = _option(
        "--venv",
        type=click.Path(path_type=Path),
        help="Python environment of the job; by default the one hpclaunch runs from.",
    )


@dataclass(frozen=True)
class PlaceOptions:
    """Which machines."""

    nodes: str = _option(
        "--nodes", default="1", help="Nodes, as 4; or a range, as 1..8, for a table of them."
    )
    gpus: int = _option("--gpus", type=click.IntRange(min=1), default=1, help="GPUs a node.")
    gpu: tuple[str, ...] = _option(
        "--gpu", multiple=True, default=(), help="Kind, as a100_80; repeatable with a range."
    )
    network: str | None = _option(
        "--network", help="A node's way to the others: 200gb, 4x200gb, 10gbe, 25GB/s."
    )
    site: str | None = _option("--site", help="Site profile; by default the cluster's own.")
    time: str | None = _option("--time", help="Time limit of a job, as 3:00:00.")


def grouped(**groups: type[Any]) -> Callable[[Command], Command]:
    """Return a command the options of these groups; each reaches it as one value by its name."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gather(*words: Any, **given: Any) -> int | None:
            for name, group in groups.items():
                fields = {item.name: given.pop(item.name) for item in dataclasses.fields(group)}
                given[name] = group(**fields)
            return command(*words, **given)

        found: Command = gather
        for group in reversed(groups.values()):
            for item in reversed(dataclasses.fields(group)):
                how = {"default": item.default, **item.metadata["how"]}
                found = click.option(*item.metadata["names"], item.name, **how)(found)
        return found

    return decorate


words = click.argument("words", nargs=-1, metavar="[RECIPE] [KEY=VALUE ...]")
"""The recipe's name or file, and changes to it."""

run = click.argument("run", required=False, metavar="[RUN]")
"""A run's name, folder or job id; the newest where it is left out."""

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for scripts.")
dry_run = click.option("--dry-run", is_flag=True, help="Write nothing; print the script.")
force = click.option("--force", is_flag=True, help="Submit it although the plan does not fit.")
