"""Options of sbatch without a row of their own: what is passed on, refused, or left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.site.sbatch_options import EXPRESSION, rows

ARGUMENT = re.compile(rf"(--[a-z][a-z-]*)(={EXPRESSION})?")
"""An option for sbatch in one word, fit for a line of the script's header."""

SET_BY_HPCLAUNCH = {
    "--array": "a run is one job; hpclaunch sweep submits several as an array",
    "--cpus-per-gpu": "use --cpus",
    "--cpus-per-task": "use --cpus",
    "--error": "the log holds both",
    "--exclusive": "use --exclusive of hpclaunch",
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


PASSED_ON = frozenset(
    re.findall(
        r"\S+",
        """
        --acctg-freq --batch --bb --bbf --cluster-constraint --clusters --container --container-id
        --container-image --container-mounts --container-name --container-workdir --contiguous
        --consolidate-segments --core-spec --cores-per-socket --cpu-freq --deadline --delay-boot
        --distribution --export --export-file --extra --get-user-env --gid --gpu-bind --gpu-freq
        --gres-flags --hint --hold --ignore-pbs --input --kill-on-invalid-dep --mcs-label
        --mem-bind --mem-update --mincpus --network --no-kill --oom-kill-step --overcommit
        --oversubscribe --power --prefer --priority --profile --propagate --quiet --reboot
        --resv-ports --resources --segment --sockets-per-node --spread-job --spread-segments
        --stepmgr --thread-spec --threads-per-core --time-min --tmp --tres-bind --tres-per-task
        --uid --use-min-nodes --wait-all-nodes --x11
        """,
    )
) - {row.flag for row in rows().values()}
"""Options of sbatch (and of its container plugins) that go through --sbatch-arg: not those that
have a row."""


def instead_of(flag: str) -> str | None:
    """Return what to write for an option of sbatch that hpclaunch has not, None for any other."""
    if flag in SET_BY_HPCLAUNCH:
        return SET_BY_HPCLAUNCH[flag]
    return f"pass it on: --sbatch-arg={flag}=VALUE" if flag in PASSED_ON else None


_HARMLESS = {"DEBUG", "IGNORE_PBS", "JOB_NAME", "OPEN_MODE", "OUTPUT", "ERROR", "WAIT", "EXPORT"}
"""Variables of sbatch that change nothing of a job whose script says the same."""


def ignored_variables(
    prefix: Literal["SBATCH", "SALLOC"], variables: Mapping[str, str]
) -> list[str]:
    """Return the names of Slurm's variables that are set and that no row takes."""
    known = {row.variable for row in rows().values()} | _HARMLESS
    begin = f"{prefix}_"
    return sorted(
        name
        for name, value in variables.items()
        if name.startswith(begin) and value and name.removeprefix(begin) not in known
    )


def check_arguments(arguments: Sequence[str], where: str = "--sbatch-arg") -> None:
    """Refuse further arguments for sbatch that are unsafe or set elsewhere. Raises UserError.

    `where` they are from stands in the message.
    """
    instead = {row.flag: f"use {row.flag} of hpclaunch" for row in rows().values()}
    instead |= SET_BY_HPCLAUNCH
    for argument in arguments:
        match = ARGUMENT.fullmatch(argument)
        if match is None:
            raise UserError(
                f"{where} {argument!r} is not an option of sbatch in one plain word",
                "write it as --hint=nomultithread: no spaces, quotes, $ or #",
            )
        flag = match.group(1)
        # Slurm takes the beginning of a name for the whole.
        known = flag if flag in instead else next((f for f in instead if f.startswith(flag)), None)
        if known:
            raise UserError(f"{where} {argument}: hpclaunch sets {known}", instead[known])
