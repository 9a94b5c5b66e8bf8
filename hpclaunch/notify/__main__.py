"""`python -m hpclaunch.notify RUN CODE`: what launch.sh calls when the job has ended."""

from __future__ import annotations

import sys
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.notify.message import What
from hpclaunch.notify.send import notify
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record


def main(arguments: list[str]) -> int:
    """Send the message of a run that ended with CODE; return the exit code."""
    if len(arguments) != 2 or not arguments[1].isdigit():
        print("usage: python -m hpclaunch.notify RUN CODE", file=sys.stderr)
        return 2
    folder, code = RunFolder(Path(arguments[0]).absolute()), int(arguments[1])
    what: What = "end"
    if code:
        what = "cancelled" if folder.cancelled_file.exists() else "failure"
    try:
        notify(folder, read_record(folder), what, code)
    except UserError as error:
        print(f"hpclaunch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
