"""`python -m tests.forkserver.server SOCKET WHAT ROOM`: imports everything once, forks programs.

WHAT is `training` (torch, Transformers and all of `hpclaunch.train`), `launcher` (torch and
accelerate, for programs of one's own) or `commands` (all else); ROOM is where the forks' own
command lines come to stand, see `tests.forkserver.naming`.

A request is one line of JSON (`arguments`, `environment`, `folder`) that comes with the program's
stdin, stdout and stderr; the answer is a line with its process id, and at its end one with its exit
code. Where it names the `client`, a process that the program stands for, the program takes over its
host name, network, cores and umask, and is killed, with all that it started, when the client is
gone. The server ends when its stdin can be read: a pipe that is closed, a process that is gone.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from tests.forkserver.clients import end_with, stand_for
from tests.forkserver.interpreter import base_path, become, run_python
from tests.forkserver.pages import use_huge_pages
from tests.forkserver.ranks import LARGEST, run_launcher, run_loopback

LIBRARIES = (
    "accelerate.commands.launch", "datasets", "torch.distributed.checkpoint",
    "torch.distributed.fsdp", "torch.distributed.run", "torch.utils.tensorboard",
    "torch.distributed._tools.fsdp2_mem_tracker", "transformers.models.llama.modeling_llama",
    "transformers.integrations.integration_utils", "trl.kernels.chunked_logprob",
    "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "torch._inductor.compile_fx", "torch._inductor.lowering",
)  # fmt: skip
"""What trainings, the launcher and (torch's compiler) bitsandbytes import late."""


OBJECTS = 50_000
"""New objects after which tests and forks look for garbage: by Python's own 700 that took a
twentieth of the time, and a fork copies what it looks at."""
LAUNCHER = "accelerate-launch"
LOOPBACK = "hpclaunch.train.loopback"


def preload() -> None:
    """Import the training and its libraries as a rank does, without bitsandbytes."""
    from hpclaunch.train import quiet
    from hpclaunch.train.process import hide_bitsandbytes, large_imports

    with warnings.catch_warnings(), large_imports():
        quiet.quieten()
        hide_bitsandbytes()
        package = importlib.import_module("hpclaunch.train")
        for module in pkgutil.walk_packages(package.__path__, "hpclaunch.train."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        for name in LIBRARIES:
            importlib.import_module(name)
        conversion_mapping = importlib.import_module("transformers.conversion_mapping")
        conversion_mapping.get_checkpoint_conversion_mapping("llama")  # compiles all families'
    for name in quiet.SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    _show_bitsandbytes()


def _show_bitsandbytes() -> None:
    """Let forks find it that need it, as an interpreter that has not hidden it."""
    from peft import import_utils
    from transformers.utils.import_utils import is_bitsandbytes_available

    if sys.modules.get("bitsandbytes") is None:
        sys.modules.pop("bitsandbytes", None)
    import_utils.is_bnb_available.cache_clear()
    import_utils.is_bnb_4bit_available.cache_clear()
    is_bitsandbytes_available.cache_clear()


def preload_launcher() -> None:
    """Import the launcher and what a small program of one's own needs of torch."""
    from hpclaunch.train.process import large_imports

    with large_imports():
        for name in ("accelerate.commands.launch", "torch.distributed.fsdp", "torch._dynamo"):
            importlib.import_module(name)


def preload_commands() -> None:
    """Import all that the command line may import, which is nothing of `hpclaunch.train`."""
    packages = ["hpclaunch", "monitors"]
    while packages:
        package = importlib.import_module(packages.pop())
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name == "hpclaunch.train" or module.name.endswith("__main__"):
                continue
            importlib.import_module(module.name)
            if module.ispkg:
                packages.append(module.name)
    assert "torch" not in sys.modules


PRELOADS = {"training": preload, "launcher": preload_launcher, "commands": preload_commands}


def serve(path: str, what: str, _room: str) -> None:
    """Answer requests until the client is gone."""
    base = base_path()
    PRELOADS[what]()
    gc.set_threshold(OBJECTS)
    gc.freeze()
    use_huge_pages()
    assert threading.active_count() == 1, "forks of a process with threads may hang"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [], 1.0)
            _reap()
            if sys.stdin in ready:
                return
            if not ready:
                continue
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection, base)
            connection.close()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _answer(connection: socket.socket, base: Sequence[str]) -> NoReturn:
    """Start one program, wait for it, and tell how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's, and the client's
    data, streams, _, _ = socket.recv_fds(connection, LARGEST, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(LARGEST)
    request = json.loads(data)
    client = request.get("client")
    program = os.fork()
    if program == 0:
        if client:
            stand_for(client["pid"], client["umask"])
        os.chdir(request["folder"])
        arguments = request["arguments"]
        if arguments[0] == LAUNCHER:
            run = partial(run_launcher, arguments[1:], base)
        elif LOOPBACK in arguments:
            run = partial(run_loopback, arguments, base)
        else:
            run = partial(run_python, arguments, base)
        become(run, arguments, request["environment"], streams)
    for each in streams:
        os.close(each)
    connection.sendall(f"{program}\n".encode())
    if client:
        end_with(connection, program)
    _, status = os.waitpid(program, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
