"""Options that several commands share: groups of fields that a command takes as one value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hpclaunch.cli import complete
from hpclaunch.cli.help import Option
from hpclaunch.frozen import frozen
from hpclaunch.plan.resources import MOST_GPUS
from hpclaunch.site.sbatch_options import SbatchOptions

if TYPE_CHECKING:
    from hpclaunch.recipe.schema import MethodKind, Sharding

Command = Callable[..., int | None]


def _option(*names: str, default: Any = None, **attributes: Any) -> Any:
    """Return a field that is an option of the command line, with click's attributes of it."""
    return field(default=default, metadata={"names": names, "attributes": attributes})


@frozen
class RecipeOptions:
    """What is changed in the recipe."""

    TITLE = "Recipe"
    method: MethodKind | None = _option(
        "--method", type=click.Choice(["full", "lora", "qlora"]), help="What is trained."
    )
    model: str | None = _option("--model", help="Hub id or folder, in place of the recipe's.")
    dataset: str | None = _option("--dataset", help="Hub id or file, in place of the recipe's.")


@frozen
class ShardingOptions:
    """How the model is sharded over the ranks, and what a step holds."""

    TITLE = "Sharding and batch"
    fsdp: Literal["1", "2"] | None = _option(
        "--fsdp", type=click.Choice(["1", "2"]), help="FSDP version; by default 2."
    )
    engine: Literal["fsdp", "deepspeed"] | None = _option(
        "--engine",
        type=click.Choice(["fsdp", "deepspeed"]),
        help="What shards: FSDP, or DeepSpeed's ZeRO (--sharding full or grad).",
    )
    sharding: Sharding | Literal["auto"] | None = _option(
        "--sharding",
        type=click.Choice(["full", "hybrid", "grad", "none", "auto"]),
        help="full: FULL_SHARD over all ranks. hybrid: HSDP, sharded inside a node and replicated "
        "across nodes. grad: SHARD_GRAD_OP (ZeRO-2). none: DDP. auto: the fastest that fits.",
    )
    batch: Literal["auto"] | None = _option(
        "--batch",
        type=click.Choice(["auto"]),
        help="auto: the fastest per-device batch size that fits; the global batch size stays.",
    )
    offload: bool | None = _option(
        "--offload/--no-offload", help="CPU offload: keep the shards in host memory."
    )
    activation_checkpointing: bool | None = _option(
        "--activation-checkpointing/--no-activation-checkpointing",
        former_flags=("--checkpointing", "--no-checkpointing"),
        help="Recompute activations in the backward pass: less memory, more time.",
    )
    context_parallel: int | None = _option(
        "--context-parallel",
        type=click.IntRange(min=1),
        help="Ranks that share each sequence, for long ones (ring attention); by default 1.",
    )
    tensor_parallel: int | None = _option(
        "--tensor-parallel",
        type=click.IntRange(min=1),
        help="Ranks that share each matrix: refused at present, with the reason.",
    )


@frozen
class NodeOptions:
    """How many nodes, and what is requested of each."""

    TITLE = "Nodes"
    nodes: int | None = _option(
        "--nodes", type=int, help="Nodes; by default 1, inside an allocation all of its nodes."
    )
    gpus: int | None = _option("--gpus", type=int, help="GPUs per node; by default 1.")
    gpu: str | None = _option(
        "--gpu",
        shell_complete=complete.gpu_types,
        help="GPU type, for example a100_80; an unknown one lists all.",
    )
    cpu_processes: int | None = _option(
        "--cpu-processes", type=int, help="Train on CPUs instead, with so many processes per node."
    )
    port: int | None = _option(
        "--port", type=int, help="Rendezvous port; by default one that is free."
    )


@frozen
class LocalOptions:
    """What is used of this machine."""

    TITLE = "This machine"
    gpus: int | None = _option("--gpus", type=int, help="GPUs; by default all.")
    cpu_processes: int | None = _option(
        "--cpu-processes", type=int, help="CPU processes; by default 2 where there is no GPU."
    )
    port: int | None = _option(
        "--port", type=int, help="Rendezvous port; by default one that is free."
    )


@frozen
class SlurmOptions(SbatchOptions):
    """What is requested of Slurm beside the nodes."""

    TITLE = "Slurm"
    site: str | None = _option(
        "--site", shell_complete=complete.sites, help="Site profile; by default the cluster's own."
    )
    cpus: int | None = _option("--cpus", type=int, help="CPU cores per node.")
    max_restarts: int | None = _option(
        "--max-restarts",
        type=int,
        help="Restarts of a stopped job by itself; by default 50.",
    )
    exclusive: bool = _option(
        "--exclusive", is_flag=True, default=False, help="Whole nodes, whatever part is used."
    )
    sbatch_arguments: tuple[str, ...] = _option(
        "--sbatch-arg",
        default=(),
        multiple=True,
        help="Any other sbatch option: --sbatch-arg=--hint=nomultithread; repeatable.",
    )
    module: tuple[str, ...] = _option(
        "--module", default=(), multiple=True, help="Environment module to load; repeatable."
    )


@frozen
class RunOptions:
    """The run's name, folder and Python environment."""

    TITLE = "Run"
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
    test_run: bool = _option(
        "--test-run",
        is_flag=True,
        default=False,
        help="Train a step, save, load that, train another and end: all else as in the real run.",
    )


@frozen
class JobOptions:
    """What sbatch, srun and rehearse take: all that says which job is meant."""

    arguments: tuple[str, ...] = ()
    """The recipe, and changes to it."""
    recipe: RecipeOptions = RecipeOptions()
    sharding: ShardingOptions = ShardingOptions()
    nodes: NodeOptions = NodeOptions()
    slurm: SlurmOptions = SlurmOptions()
    run: RunOptions = RunOptions()


@frozen
class PlaceOptions:
    """The machines that a plan is for."""

    TITLE = "Nodes"
    nodes: str = _option(
        "--nodes", default="1", help="Number of nodes: 4; or a range for a table: 1..8."
    )
    gpus: int = _option(
        "--gpus", type=click.IntRange(min=1, max=MOST_GPUS), default=1, help="GPUs per node."
    )
    gpu: tuple[str, ...] = _option(
        "--gpu",
        multiple=True,
        default=(),
        shell_complete=complete.gpu_types,
        help="GPU type, for example a100_80; repeatable with a range of nodes.",
    )
    network: str | None = _option(
        "--network", help="Network of a node: 200gb, 4x200gb, 10gbe, 25GB/s."
    )
    site: str | None = _option(
        "--site", shell_complete=complete.sites, help="Site profile; by default the cluster's own."
    )
    mem: str | None = _option("--mem", help="Memory of a node that the job gets: 480G.")
    time: str | None = _option("--time", help="Time limit of a job: 3:00:00.")


def grouped(**groups: type[Any]) -> Callable[[Command], Command]:
    """Return a command the options of these groups; each reaches it as one value by its name."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gather(*arguments: Any, **values: Any) -> int | None:
            for name, group in groups.items():
                fields = {item.name: values.pop(item.name) for item in dataclasses.fields(group)}
                values[name] = group(**fields)
            return command(*arguments, **values)

        decorated: Command = gather
        for group in reversed(groups.values()):
            for item in reversed(dataclasses.fields(group)):
                attributes = {"default": item.default, **item.metadata["attributes"]}
                decorated = click.option(
                    *item.metadata["names"], item.name, cls=Option, group=group.TITLE, **attributes
                )(decorated)
        return decorated

    return decorate


recipe_and_changes = click.argument(
    "arguments", nargs=-1, metavar="[RECIPE] [KEY=VALUE ...]", shell_complete=complete.recipes
)
"""The recipe's name or file, and changes to it."""


def job(command: Command) -> Command:
    """Return a command that takes the options of a job; they reach it as one value `job`."""

    @functools.wraps(command)
    def gather(*values: Any, **others: Any) -> int | None:
        names = [each.name for each in dataclasses.fields(JobOptions)]
        return command(*values, job=JobOptions(**{n: others.pop(n) for n in names}), **others)

    groups = {
        "recipe": RecipeOptions,
        "sharding": ShardingOptions,
        "nodes": NodeOptions,
        "slurm": SlurmOptions,
        "run": RunOptions,
    }
    decorated: Command = recipe_and_changes(grouped(**groups)(gather))
    return decorated


run = click.argument("run", required=False, metavar="[RUN]", shell_complete=complete.runs)
"""A run's name, folder or job id; the newest where it is left out."""

as_json = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")
dry_run = click.option("--dry-run", is_flag=True, help="Write nothing; print the script.")
force = click.option("--force", is_flag=True, help="Submit it although the plan does not fit.")
