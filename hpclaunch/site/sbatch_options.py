"""The table of sbatch's options that are passed on as they are: one row an option.

From a row follow the flag on the command line with its check and help, the key in a site profile
and in its `needs`, the environment variable, and the line in the script. Nodes, GPUs and cores are
decisions of the plan: they have no rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen

# Matched against the whole text: a '$' would let a line break pass at the end.
WORD = r"[A-Za-z0-9_.,:@+/-]+"
WORD_EXAMPLE = "letters, digits and _.,:@+/-"
TIME = r"[0-9]+-[0-9]+(:[0-9]+(:[0-9]+)?)?|[0-9]+(:[0-9]+){0,2}"
MEMORY = r"[0-9]+[KMGTkmgt]?"
EXPRESSION = r"[A-Za-z0-9_.,:;@+/*=|&!<>()?%\[\]-]+"
"""What may stand in a line of the script's header: no spaces, quotes, $ or #."""


Follower = Literal["stage", "evaluation"]
"""A stage that `--then` names; an evaluation of a checkpoint."""
_QUEUE: tuple[Follower, ...] = ("stage", "evaluation")


@frozen
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
    of_submission: bool = False
    """Whether it is of one submission: a resumed run drops it, and a pipeline sets it itself."""
    kept_by: tuple[Follower, ...] = ()
    """The jobs that follow a run and get its value where they are given none."""


def _row(flag: str, **columns: Any) -> Any:
    """Return a field of SbatchOptions, which is an option of the command line, too."""
    row = Row(flag, **columns)
    attributes = {"help": row.help}
    return field(default=None, metadata={"row": row, "names": (flag,), "attributes": attributes})


@frozen(kw_only=True)
class SbatchOptions:
    """The rows, in the order of the script. None: the site's default, or Slurm's."""

    time: str | None = _row(
        "--time",
        help="Time limit: 3:00:00 or 1-12:00:00.",
        pattern=TIME,
        example="3:00:00 or 1-12:00:00",
        variable="TIMELIMIT",
        kept_by=("stage",),  # an evaluation has its own, in the recipe
    )
    partition: str | None = _row(
        "--partition", help="Partition.", variable="PARTITION", kept_by=_QUEUE
    )
    account: str | None = _row(
        "--account", help="Account to charge.", variable="ACCOUNT", kept_by=_QUEUE
    )
    qos: str | None = _row("--qos", help="Quality of service.", variable="QOS", kept_by=_QUEUE)
    mem: str | None = _row(
        "--mem",
        help="Host memory per node: 480G; 0 is all.",
        pattern=MEMORY,
        example="480G",
        variable="MEM_PER_NODE",
        of_site=False,  # the profile's is that of a whole node
    )
    constraint: str | None = _row(
        "--constraint",
        help="Node features that are needed, beside the one that names the GPU type.",
        pattern=EXPRESSION,
        example="features joined by & and |, without spaces",
        variable="CONSTRAINT",
        of_site=False,  # the profile's stands with its GPU types
        kept_by=("evaluation",),  # a stage may need no GPU, and other nodes
    )
    reservation: str | None = _row(
        "--reservation", help="Reservation to run in.", variable="RESERVATION", kept_by=_QUEUE
    )
    nodelist: str | None = _row(
        "--nodelist",
        help="Nodes that must be among the job's: node[1-3].",
        pattern=EXPRESSION,
        example="node7,node[1-3]",
        of_site=False,
    )
    exclude: str | None = _row(
        "--exclude",
        help="Nodes to leave out: node7,node9.",
        pattern=EXPRESSION,
        example="node7,node[1-3]",
        kept_by=("evaluation",),
    )
    dependency: str | None = _row(
        "--dependency",
        of_submission=True,
        help="Start after other jobs: afterok:123456.",
        pattern=EXPRESSION,
        example="afterok:123456",
        of_site=False,
    )
    begin: str | None = _row(
        "--begin",
        of_submission=True,
        help="Start no earlier: now+2hours, 2026-12-01T08:00.",
        of_site=False,
    )
    licenses: str | None = _row("--licenses", help="Licences to hold: name:2.")
    switches: str | None = _row(
        "--switches",
        help="Most network switches, and how long to wait for them: 1@2:00:00.",
        variable="REQ_SWITCH",
    )
    mail_user: str | None = _row(
        "--mail-user", help="Address for Slurm's messages.", kept_by=("stage",)
    )
    mail_type: str | None = _row(
        "--mail-type", help="When Slurm writes: BEGIN,END,FAIL.", kept_by=("stage",)
    )
    nice: str | None = _row(
        "--nice", help="Lower the priority by so much.", pattern=r"-?[0-9]+", example="100"
    )
    comment: str | None = _row("--comment", help="A comment, in one word.", of_site=False)
    wckey: str | None = _row(
        "--wckey", help="Key that the hours are counted under.", variable="WCKEY", kept_by=_QUEUE
    )


def rows() -> dict[str, Row]:
    """Return every row by the name of its field."""
    return {item.name: item.metadata["row"] for item in fields(SbatchOptions)}


OF_SUBMISSION = tuple(name for name, row in rows().items() if row.of_submission)
"""Names of the options that hold for one submission alone."""

SITE_NAMES = tuple(name for name, row in rows().items() if row.of_site)
"""Names of the options that a site profile may set, and may demand of every job."""


def kept_by(follower: Follower) -> tuple[str, ...]:
    """Return the names of the options that a job which follows a run takes over from it."""
    return tuple(name for name, row in rows().items() if follower in row.kept_by)


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
