"""The table of sbatch's options that are passed on as they are: one row an option.

From a row follow the flag on the command line with its check and help, the key in a site profile
and in its `needs`, the environment variable, and the line in the script. Nodes, GPUs and cores are
decisions of the plan: they have no rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hpclaunch.errors import UserError

# Matched against the whole text: a '$' would let a line break pass at the end.
WORD = r"[A-Za-z0-9_.,:@+/-]+"
WORD_EXAMPLE = "letters, digits and _.,:@+/-"
TIME = r"[0-9]+-[0-9]+(:[0-9]+(:[0-9]+)?)?|[0-9]+(:[0-9]+){0,2}"
MEMORY = r"[0-9]+[KMGTkmgt]?"


@dataclass(frozen=True)
class Row:
    """One option of sbatch and salloc."""

    flag: str
    help: str
    pattern: str = WORD
    example: str = WORD_EXAMPLE
    """What is right, for the error message."""
    variable: str | None = None
    """Slurm's own environment variable, without `SBATCH_` or `SALLOC_`."""
    of_site: bool = True
    """Whether a site profile has a default under the same name, which the script takes as it is."""


def _row(flag: str, **columns: Any) -> Any:
    """Return a field of SbatchOptions, which is an option of the command line, too."""
    row = Row(flag, **columns)
    attributes = {"help": row.help}
    return field(default=None, metadata={"row": row, "names": (flag,), "attributes": attributes})


@dataclass(frozen=True, kw_only=True)
class SbatchOptions:
    """The rows, in the order of the script. None: the site's default, or Slurm's."""

    time: str | None = _row(
        "--time",
        help="Time limit: 3:00:00 or 1-12:00:00.",
        pattern=TIME,
        example="3:00:00 or 1-12:00:00",
        variable="TIMELIMIT",
    )
    partition: str | None = _row("--partition", help="Partition.", variable="PARTITION")
    account: str | None = _row("--account", help="Account to charge.", variable="ACCOUNT")
    qos: str | None = _row("--qos", help="Quality of service.", variable="QOS")
    mem: str | None = _row(
        "--mem",
        help="Host memory per node: 480G; 0 is all.",
        pattern=MEMORY,
        example="480G",
        of_site=False,  # the profile's is that of a whole node
    )


def rows() -> dict[str, Row]:
    """Return every row by the name of its field."""
    return {item.name: item.metadata["row"] for item in fields(SbatchOptions)}


SITE_NAMES = tuple(name for name, row in rows().items() if row.of_site)
"""Names of the options that a site profile may set, and may demand of every job."""


def check_values(options: SbatchOptions) -> None:
    """Refuse values that are not in Slurm's form. Raises UserError."""
    for name, row in rows().items():
        value = getattr(options, name)
        if value is not None and not re.fullmatch(row.pattern, value):
            raise UserError(f"{row.flag} {value!r} is not in Slurm's form", f"write {row.example}")


def from_environment(
    options: SbatchOptions, prefix: Literal["SBATCH", "SALLOC"], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return, by field, what Slurm's own variables set where the options are silent."""
    found = {
        name: variables.get(f"{prefix}_{row.variable}")
        for name, row in rows().items()
        if row.variable and not getattr(options, name)
    }
    return {name: value for name, value in found.items() if value}


ARGUMENT = re.compile(r"(--[a-z][a-z-]*)(=[A-Za-z0-9_.,:;@+/*=|&!<>()\[\]-]+)?")
"""An option for sbatch in one word, fit for a line of the script's header."""

SET_BY_HPCLAUNCH = {
    "--array": "a run is one job; --wait and a loop, or sweep, make several",
    "--cpus-per-gpu": "use --cpus",
    "--cpus-per-task": "use --cpus",
    "--constraint": "use --gpu, or a site profile",
    "--error": "the log holds both",
    "--exclusive": "set exclusive: true in a site profile",
    "--gpus": "use --gpus of hpclaunch, which is per node",
    "--gpus-per-node": "use --gpus",
    "--gpus-per-task": "use --gpus",
    "--gres": "use --gpus",
    "--job-name": "use --name",
    "--mem-per-cpu": "use --mem",
    "--mem-per-gpu": "use --mem",
    "--no-requeue": "use --max-restarts 0",
    "--nodes": "use --nodes",
    "--ntasks": "there is one task on each node",
    "--ntasks-per-node": "there is one task on each node",
    "--open-mode": "leave it out",
    "--output": "the log is in the run folder; use --runs-dir",
    "--parsable": "use --json",
    "--requeue": "use --max-restarts",
    "--signal": "leave it out",
    "--test-only": "use --dry-run",
    "--wait": "use --wait of hpclaunch",
    "--wrap": "write the program after --",
}
"""Options that --sbatch-arg does not take, and what to do instead."""


def check_arguments(arguments: tuple[str, ...]) -> None:
    """Refuse further arguments for sbatch that are unsafe or set elsewhere. Raises UserError."""
    instead = {row.flag: f"use {row.flag} of hpclaunch" for row in rows().values()}
    instead |= SET_BY_HPCLAUNCH
    for argument in arguments:
        match = ARGUMENT.fullmatch(argument)
        if match is None:
            raise UserError(
                f"--sbatch-arg {argument!r} is not an option of sbatch in one plain word",
                "write --sbatch-arg=--switches=1: no spaces, quotes, $ or #",
            )
        flag = match.group(1)
        # Slurm takes the beginning of a name for the whole.
        known = flag if flag in instead else next((f for f in instead if f.startswith(flag)), None)
        if known:
            raise UserError(f"--sbatch-arg {argument}: hpclaunch sets {known}", instead[known])


if TYPE_CHECKING:
    Need = str

    class SiteDefaults(msgspec.Struct, frozen=True, kw_only=True):
        """A site's defaults of those options: what code reads by name."""

        time: str | None = None
        partition: str | None = None
        account: str | None = None
        qos: str | None = None
else:
    Need = Literal[SITE_NAMES]
    SiteDefaults = msgspec.defstruct(
        "SiteDefaults",
        [(name, str | None, None) for name in SITE_NAMES],
        frozen=True,
        kw_only=True,
        module=__name__,
    )
