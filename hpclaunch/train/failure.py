"""A failing rank's error file: which rank, on which node, when and why."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import traceback

from hpclaunch.errors import UserError
from hpclaunch.run.attempt import taken_over
from hpclaunch.run.folder import RunFolder, write_atomic

_PEER_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|connection closed by peer|broken pipe"
    r"|remote process exited|socket closed|timed? ?out waiting",
    re.IGNORECASE,
)


def one_line(error: BaseException) -> str:
    """Return `Type: first line of the message`, as a list of failures shows it."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def collateral(error: BaseException) -> bool:
    """Return whether an error is probably the consequence of another rank's failure."""
    return isinstance(error, RuntimeError) and bool(_PEER_LOST.search(str(error)))


def forget_failures(run: RunFolder) -> None:
    """Remove what an earlier attempt in this folder left, before the ranks of a new one start."""
    for path in [*run.rank_errors(), run.first_failed_rank]:
        path.unlink(missing_ok=True)


def write_error_file(run: RunFolder, error: BaseException) -> None:
    """Write logs/rank-R.error.json.

    Fields: rank, local_rank, host, time (Unix seconds), error (a line), fix (for what the user can
    change), collateral (another rank probably died first), traceback. The rank comes from the
    environment that the launcher sets: an error may come before torch knows it.
    """
    rank = int(os.environ.get("RANK", "0"))
    run.logs.mkdir(parents=True, exist_ok=True)
    document = {
        "rank": rank,
        "local_rank": int(os.environ.get("LOCAL_RANK", "0")),
        "host": socket.gethostname(),
        "time": round(time.time(), 3),
        "error": one_line(error),
        "fix": error.fix if isinstance(error, UserError) else "",
        "collateral": collateral(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    write_atomic(run.rank_error(rank), json.dumps(document, indent=2) + "\n")


def write_failure(run: RunFolder, error: BaseException) -> int:
    """Write a rank's failure to its error file and to stderr; return the exit code.

    2 for what the user can change, else 1. Of all ranks the first to fail prints its traceback; the
    others a line, or nothing where it is the same error in the recipe.
    """
    first = True
    if taken_over(run):  # these files would be taken for the later attempt's
        print(
            f"hpclaunch: an earlier attempt that was cut off has ended: {one_line(error)}",
            file=sys.stderr,
        )
        return 1
    try:
        write_error_file(run, error)
        first = _is_first_failure(run)
    except OSError as disk:  # a full or vanished disk must not hide the failure itself
        print(f"hpclaunch: the failure cannot be recorded: {disk}", file=sys.stderr)
    user_error = isinstance(error, UserError)
    if first and user_error:
        print(f"hpclaunch: {one_line(error)}", file=sys.stderr)
    elif first and not collateral(error):
        traceback.print_exception(error)
    elif not user_error:
        rank = os.environ.get("RANK", "0")
        message = one_line(error)
        if collateral(error):
            message = f"lost touch with another rank: {message}"
        print(f"hpclaunch: rank {rank} failed too: {message}", file=sys.stderr)
    return 2 if user_error else 1


def _is_first_failure(run: RunFolder) -> bool:
    """Return whether this is the first rank to fail: one process alone can make the file."""
    try:
        run.first_failed_rank.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
