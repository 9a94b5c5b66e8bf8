"""What a failing rank leaves behind: one small file that says which, where, when and why."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback

from hpclaunch.run.folder import RunFolder, write_atomic


def one_line(error: BaseException) -> str:
    """Give `Type: first line of the message`, as a list of failures shows it."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__


def record_failure(run: RunFolder, error: BaseException) -> None:
    """Write logs/rank-R.error.json: rank, local_rank, host, time (Unix seconds), error, traceback.

    The rank comes from the environment that the launcher sets: an error may come before torch knows.
    """
    rank = int(os.environ.get("RANK", "0"))
    run.logs.mkdir(parents=True, exist_ok=True)
    document = {
        "rank": rank,
        "local_rank": int(os.environ.get("LOCAL_RANK", "0")),
        "host": socket.gethostname(),
        "time": round(time.time(), 3),
        "error": one_line(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    write_atomic(run.rank_error(rank), json.dumps(document, indent=2) + "\n")
