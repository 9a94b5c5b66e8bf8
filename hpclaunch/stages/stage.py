"""What a stage is: its inputs, its resources, what it runs and what it leaves.

A stage is a run of its own, with its own run folder: it is written, started, watched and explained
like a training, with a program of this package in place of the trainer. Its definition is one
module here, `STAGE = Stage(...)`, named in `registry.py`; its settings are a class in
`hpclaunch.run.stage_settings`; what the job executes is `hpclaunch.train.stages.NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from hpclaunch.frozen import frozen
from hpclaunch.run.stage_settings import Settings
from hpclaunch.stages.need import Need, Unknown
from hpclaunch.stages.source import KnownSource

S = TypeVar("S", bound=Settings)
Place = Literal["cpu", "either", "gpu"]
"""cpu, gpu: there alone. either: on a GPU where there is one, on CPUs else."""
Rows = list[tuple[str, str]]


def _no_check(settings: Any, sources: Sequence[KnownSource]) -> None:
    """Refuse nothing."""


def _no_check_of_job(
    settings: Any, python: Path, internet: bool, environment: Mapping[str, str]
) -> None:
    """Refuse nothing."""


def _on_cpu(settings: Any, sources: Sequence[KnownSource]) -> Place:
    return "cpu"


def _no_need(settings: Any, sources: Sequence[KnownSource]) -> Need | Unknown:
    return Unknown("nothing is predicted of this stage")


@frozen
class Stage(Generic[S]):
    """One stage."""

    settings: type[S]
    """Its settings' class, which has its name too."""
    rows: Callable[[Mapping[str, Any]], Rows]
    """What results.json says, as label and text. Values that are not there are left out."""
    check: Callable[[S, Sequence[KnownSource]], None] = _no_check
    """Refuses, by a UserError, what is sure to fail: before anything is written."""
    check_job: Callable[[S, Path, bool, Mapping[str, str]], None] = _no_check_of_job
    """The same by what the job has: its Python environment, whether its nodes have internet, its
    variables. Called last, before it is written; it may make what lies beside that environment."""
    place: Callable[[S, Sequence[KnownSource]], Place] = _on_cpu
    need: Callable[[S, Sequence[KnownSource]], Need | Unknown] = _no_need
    """What it takes of memory and time, by small files alone."""
    parallel: bool = False
    """A process for each GPU, started by accelerate; else one process has all GPUs of its node."""
    writes_text: bool = True
    """It takes models that write; else also those that score."""
    sampled: bool = True
    """Whether the node is sampled while it runs."""
    packages: tuple[str, ...] = ("torch", "transformers", "hpclaunch")
    """Python packages that its program needs."""

    @property
    def name(self) -> str:
        """`merge`, `quantize` ..."""
        return str(self.settings.__struct_config__.tag)

    @property
    def program(self) -> tuple[str, ...]:
        """The words of what runs in place of the trainer."""
        return ("-m", f"hpclaunch.train.stages.{self.name}")
