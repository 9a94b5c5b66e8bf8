"""`python -m hpclaunch.requeue RUN failed|paused|again ...`: what launch.sh calls."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.requeue.decide import again, failed, go_back
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.slurm.jobs import job_id

USAGE = "usage: python -m hpclaunch.requeue RUN failed CODE | paused | again NODE ..."


def main(arguments: list[str]) -> int:
    """Record the failure or requeue the job; a requeue that Slurm accepts ends this process.

    Returns the exit code: 0 where the script is to go on, 1 where Slurm refused or something broke.
    """
    match arguments:
        case [run, ("failed" | "paused" | "again") as command, *rest]:
            pass
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    # Slurm ends what it requeues: what follows a requeue must outlive the first signal.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = job_id(os.environ)
    try:
        folder = RunFolder(Path(run).absolute())
        record = read_record(folder)
        if command == "again":
            return again(folder, record, job, rest)
        if command == "failed":
            failed(folder, record, int(rest[0]) if rest and rest[0].isdigit() else None)
        return go_back(folder, record, job)
    except UserError as error:
        print(f"hpclaunch: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
