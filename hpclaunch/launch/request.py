"""A request: what a person typed, before anything is read or looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.plan.resources import Mode, Resources, StageLaunch
from hpclaunch.recipe.load import split_override
from hpclaunch.recipe.schema import MethodKind, Sharding
from hpclaunch.site import sbatch_options


@frozen
class Changes:
    """What is changed in the recipe by options of their own, applied after `overrides`."""

    method: MethodKind | None = None
    model: str | None = None
    """Hub id or folder, in place of the recipe's."""
    dataset: str | None = None
    """Hub id or file, in place of the recipe's; all of it, and none of it to validate on, unless
    overrides say more."""
    fsdp: Literal[1, 2] | None = None
    engine: Literal["fsdp", "deepspeed"] | None = None
    sharding: Sharding | None = None
    offload: bool | None = None
    activation_checkpointing: bool | None = None
    context_parallel: int | None = None
    tensor_parallel: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the dotted recipe keys that these set, each by an option of its own."""
        found: dict[str, Any] = {
            "method.kind": self.method,
            "model.name": self.model,
            "data.name": self.dataset,
            "fsdp.version": self.fsdp,
            "fsdp.engine": self.engine,
            "fsdp.sharding": self.sharding,
            "fsdp.offload": self.offload,
            "training.gradient_checkpointing": self.activation_checkpointing,
            "fsdp.context_parallel": self.context_parallel,
            "fsdp.tensor_parallel": self.tensor_parallel,
        }
        return {key: value for key, value in found.items() if value is not None}

    def flags(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Return the dotted recipe keys that these set; what `overrides` set beside them stays.

        Raises UserError where an override sets one of them to something else.
        """
        found = self.given()
        for key, value in map(split_override, overrides):
            if key in found and found[key] != value:
                raise UserError(
                    f"{key} is given twice: {found[key]} by an option, and {value}", "leave one out"
                )
        # What described the recipe's own model or data does not describe another.
        cleared: dict[str, Any] = {}
        if self.model is not None:
            cleared |= {"model.gated": False, "model.revision": None}
        if self.dataset is not None:
            cleared |= {
                "data.subset": None,
                "data.revision": None,
                "data.format": "auto",
                "data.split": "train",
                "data.validation": None,
                "data.validation_split": None,
                "data.limit": None,
                "data.sources": [],
                "data.validation_fraction": None,
            }
        overridden = {word.partition("=")[0] for word in overrides}
        return found | {key: value for key, value in cleared.items() if key not in overridden}


@frozen
class Request:
    """A run as requested. What is left out is decided by the recipe, the site or the plan."""

    mode: Mode = "sbatch"
    recipe: str | None = None
    """A packaged recipe's name or a YAML file."""
    overrides: tuple[str, ...] = ()
    """`section.key=value` words."""
    changes: Changes = Changes()
    auto_sharding: bool = False
    """Take the fastest sharding that fits, by prediction."""
    auto_batch: bool = False
    """The same for the per-device batch size; the global batch size does not change."""
    resources: Resources = field(default_factory=Resources)
    site: str | None = None
    name: str | None = None
    """The run's name; by default the recipe's with the next free number."""
    runs_dir: Path | None = None
    """Where the run folder goes; `$HPCLAUNCH_RUNS_DIR`, or ./runs."""
    venv: Path | None = None
    """Python environment of the job; by default the one that runs hpclaunch."""
    modules: tuple[str, ...] = ()
    """Environment modules to load after the site's."""
    program: tuple[str, ...] = ()
    """Own program and arguments, in place of the built-in trainer."""
    stage: StageLaunch | None = None
    """Of a run that is a stage; `program` is what the stage runs."""
    command: tuple[str, ...] = ()
    """What was typed, for the record."""
    test_run: bool = False
    """Train a step, save, load that checkpoint, train one more and end, with all else as it is."""
    cwd: Path | None = None
    """Where a program of the user's own starts; by default the current folder."""
    pending: tuple[str, ...] = ()
    """Paths of models and data that an earlier job makes: they need not be there yet."""
    shape_of: str = ""
    """Where an earlier job makes the recipe's model: hub id or folder of a model of its shape, by
    which memory and time are predicted."""
    group: str = ""
    """Name of the sweep or pipeline that the run belongs to; its folder lies beside the run's."""

    def check(self) -> None:
        """Refuse values of a wrong kind, which only a Python program can give. Raises UserError."""
        for part in (self, self.changes):
            name = type(part).__name__
            if not isinstance(part, Request | Changes):
                raise UserError(f"Request: changes={part!r}: expected Changes(...)")
            for field_name, kind in get_type_hints(type(part)).items():
                value = getattr(part, field_name)
                if not _is_kind(value, kind):
                    raise UserError(f"{name}: {field_name}={value!r}: expected {_called(kind)}")


def _is_kind(value: object, kind: Any) -> bool:
    """Whether a value is of a type as these two classes write it."""
    if get_origin(kind) is Literal:
        return isinstance(value, str | int) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    if get_origin(kind) in {Union, UnionType}:
        return any(_is_kind(value, each) for each in get_args(kind))
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def _called(kind: Any) -> str:
    """Return what a type is called in a message."""
    if get_origin(kind) is Literal:
        return " or ".join(repr(each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        return "a tuple of texts"
    if get_origin(kind) in {Union, UnionType}:
        return " or ".join(_called(each) for each in get_args(kind))
    names = {str: "text", bool: "True or False", NoneType: "None", Path: "a Path"}
    return names.get(kind, f"{getattr(kind, '__name__', kind)}(...)")


def from_environment(resources: Resources, mode: Mode, variables: Mapping[str, str]) -> Resources:
    """Return the resources with Slurm's own variables (SBATCH_ACCOUNT ...) where they are silent.

    They are read here, once, and kept from the submission: there they would override the script.
    """
    prefix: Literal["SALLOC", "SBATCH"] = "SALLOC" if mode == "srun" else "SBATCH"
    return replace(resources, **sbatch_options.from_environment(resources, prefix, variables))
