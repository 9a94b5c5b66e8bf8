"""First on PYTHONPATH of a cluster's jobs: their trainings become forks of a server there.

An interpreter that is to run `accelerate-launch` or a module of `hpclaunch.train` asks the server
for a fork of that name, hands it its streams, and stays as long as the fork does: it passes on the
signals that it gets, and ends as it ends. All other interpreters go on as they are.
"""

# ruff: noqa: PTH109, PTH110, PTH119
# An interpreter that goes on as it is shall not have imported pathlib for it.
import os
import sys

SOCKET = "HPCLAUNCH_TEST_FORKS"


def wanted(words: list[str]) -> list[str] | None:
    """Return what to ask the server for, None where this interpreter runs the program itself."""
    flags = []
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c", "-"):
        flags.append(words.pop(0))
    if words[:1] == ["-m"] and len(words) > 1 and words[1].startswith("hpclaunch.train"):
        return [*flags, *words]
    if words and os.path.basename(words[0]) == "accelerate-launch":
        return ["accelerate-launch", *words[1:]]
    return None


def become_a_client(path: str, arguments: list[str]) -> None:
    """Ask for the fork, and end as it ends."""
    import json
    import signal
    import socket

    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:  # the server is gone: go on as any interpreter
        return
    umask = os.umask(0)
    os.umask(umask)
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "client": {"pid": os.getpid(), "umask": umask},
    }
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(connection, [data], [0, 1, 2])
    connection.sendall(data[sent:])
    answers = connection.makefile("r")
    program = int(answers.readline())
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCONT"):
        signal.signal(getattr(signal, name), lambda number, _frame: os.kill(program, number))
    code = int(answers.readline() or 1)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if SOCKET in os.environ and os.path.exists(os.environ[SOCKET]):
    _arguments = wanted(sys.orig_argv[1:])
    if _arguments is not None:
        become_a_client(os.environ[SOCKET], _arguments)
