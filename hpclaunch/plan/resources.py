"""What the user requests beside the recipe: nodes, GPUs, time, and how the run is started."""

from __future__ import annotations

import re
from dataclasses import field, fields
from pathlib import Path
from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.site.sbatch_arguments import check_arguments
from hpclaunch.site.sbatch_options import SbatchOptions, check_values
from hpclaunch.site.schema import GpuRequest, Site

MOST_GPUS = 128
"""No node has more GPUs."""
MOST_NODES = 99_999
"""No cluster has more nodes."""

Mode = Literal["sbatch", "srun", "local"]

# Held against the whole text: a '$' would let a line break pass at the end.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER = re.compile(r"/[^\x00-\x1f\x7f\"'\\%$`]*")


@frozen
class Resources(SbatchOptions):
    """What is requested; None leaves the choice to the site or to the plan."""

    nodes: int | None = None
    """None: all of the allocation we are in, 1 elsewhere."""
    gpus: int | None = None
    """GPUs per node."""
    gpu: str | None = None
    """GPU type, from the catalogue."""
    cpu_processes: int | None = None
    """Processes per node that train on CPUs instead of GPUs."""
    cpus: int | None = None
    """CPU cores per node."""
    exclusive: bool = False
    """Whole nodes, whatever part of them the job uses."""
    sbatch_arguments: tuple[str, ...] = ()
    """Further options for sbatch and salloc, each in one word: `--switches=1`."""
    port: int | None = None
    """Rendezvous port; None: `choose_port` of launch.sh takes one that is free."""
    max_restarts: int | None = None
    """How often a job that stopped for its time limit or a preemption goes back into the queue."""

    @property
    def node_count(self) -> int:
        """Nodes, 1 where nobody says."""
        return 1 if self.nodes is None else self.nodes

    def check(self) -> None:
        """Refuse values that no job can have, or no script can hold. Raises UserError."""
        self._check_types()
        if self.node_count < 1:
            raise UserError(f"--nodes {self.nodes}: at least one node is needed")
        if self.node_count > MOST_NODES:
            raise UserError(f"--nodes {self.nodes}: no cluster has so many")
        for flag, value in (
            ("--gpus", self.gpus),
            ("--cpu-processes", self.cpu_processes),
            ("--cpus", self.cpus),
        ):
            if value is not None and value < 1:
                raise UserError(f"{flag} {value}: must be at least 1")
        if (self.gpus or 1) > MOST_GPUS:
            raise UserError(f"--gpus {self.gpus}: no node has so many", "it is the number per node")
        if self.max_restarts is not None and self.max_restarts < 0:
            raise UserError(f"--max-restarts {self.max_restarts}: must be at least 0")
        if self.gpus and self.cpu_processes:
            raise UserError("--gpus and --cpu-processes exclude each other", "give one")
        if self.port is not None and not 1024 <= self.port <= 65535:
            raise UserError(f"--port {self.port}: must be 1024 to 65535")
        check_values(self)
        check_arguments(self.sbatch_arguments)

    def _check_types(self) -> None:
        """Refuse what only a Python program can give: the command line gives the right types."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "sbatch_arguments":
                if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
                    raise UserError(f"Resources: {each.name}={value!r}: expected a tuple of texts")
                continue
            if each.name == "exclusive":
                if not isinstance(value, bool):
                    raise UserError(f"Resources: exclusive={value!r}: expected True or False")
                continue
            wanted, what = (int, "a whole number") if "int" in str(each.type) else (str, "text")
            if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
                raise UserError(f"Resources: {each.name}={value!r}: expected {what}")


@frozen
class PythonEnvironment:
    """The Python that the job uses: the one hpclaunch runs from, unless --venv names another."""

    path: Path
    kind: Literal["venv", "prefix"]
    """venv: has bin/activate. prefix: its bin folder goes first on PATH (conda, system)."""


@frozen
class StageLaunch:
    """A stage as the launcher sees it: a program of this package, in place of the trainer."""

    name: str
    """`merge`, `quantize` ..."""
    document: str
    """Text of the run folder's stage.json."""
    parallel: bool = False
    """A process for each GPU, started by accelerate. Else one process has all of the node's."""
    sampled: bool = True
    """The nodes are sampled while it runs."""
    packages: tuple[str, ...] = ()
    """Python packages that it needs."""


@frozen
class Launch:
    """Where and how this run is started, and what was read off the machine."""

    mode: Mode
    name: str
    folder: Path
    """The run folder, absolute."""
    cwd: Path
    """Where a program of the user's own starts."""
    python: PythonEnvironment
    version: str
    """hpclaunch's version."""
    command: tuple[str, ...] = ()
    """What the user typed, for the script's first comment and the record."""
    program: tuple[str, ...] = ()
    """The user's own program and its arguments; empty runs the built-in trainer."""
    gpu_request: GpuRequest | None = None
    """How this cluster is asked for the GPU type, where Slurm itself answered."""
    node_cpus: int | None = None
    """CPU cores of the requested nodes, where Slurm answered."""
    node_gpus: int | None = None
    """GPUs of the requested nodes, where Slurm answered."""
    node_memory_mib: int | None = None
    """Host memory of a requested node in MiB, where Slurm answered."""
    host_memory_mib: int | None = None
    """What the ranks of a node are predicted to take of its memory, in MiB; None: not known."""
    chosen_level: bool = False
    """The recipe left its level of activation checkpointing open; what it says was chosen."""
    slurm_problem: str = ""
    """Why Slurm could not be asked about the nodes; '' where it answered, or is not here."""
    slurm_notes: tuple[tuple[str, str], ...] = ()
    """What was seen in the cluster's tables that the user must know, each with its fix."""
    modules: tuple[str, ...] = field(default=())
    """Modules to load after the site's."""
    stage: StageLaunch | None = None
    """Of a run that is a stage (merge, quantize ...): what its folder and script have beside."""
    part_of_allocation: bool = False
    """The run takes the first nodes of an allocation that has more."""
    test_run: bool = False
    """The trainer starts twice: the first time it stops after a step, with a checkpoint."""
    shape_of: str = ""
    """Where an earlier job makes the recipe's model: hub id or folder of a model of its shape."""
    group: str = ""
    """Name of the sweep or pipeline that the run belongs to."""
    numbered: str = ""
    """What the name is a number of (`tiny` of `tiny-3`); '' where the user gave the name."""

    def check(self) -> None:
        """Refuse names and folders that Slurm or a shell would trip over. Raises UserError."""
        check_name(self.name)
        if not (_FOLDER.fullmatch(str(self.folder)) and _is_text(str(self.folder))):
            raise UserError(
                f"run folder {str(self.folder)!r} has characters that Slurm's headers cannot hold",
                "choose one without quotes, %, $, backslashes or line breaks by --runs-dir",
            )


def _is_text(path: str) -> bool:
    """Return whether all bytes of a path are UTF-8; Python has surrogates for others."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: str) -> None:
    """Refuse a run name that is not plain. Raises UserError."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r}: a run's name is a folder's and a job's name",
            "use letters, digits, '.', '_' and '-' (100 at most, a letter or digit first)",
        )


def check_needs(site: Site, resources: Resources) -> None:
    """Refuse a job that the site would refuse for lack of an account and such."""
    missing = [need for need in site.needs if not (getattr(resources, need) or getattr(site, need))]
    if missing:
        flags = " and ".join(f"--{need} NAME" for need in missing)
        raise UserError(
            f"site {site.name} needs {' and '.join(missing)} for every job",
            f"add {flags}, or set it in your own profile (sites/NAME.yaml, extends: {site.name})",
        )
