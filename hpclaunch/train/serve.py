"""`python -m hpclaunch.train.serve RUN`: the server that writes GRPO's completions, on its node.

Becomes `trl vllm-serve`, which becomes vLLM's own server. It listens on the address of this node
that the ranks know, without a password: whoever reaches that port can ask it, and send it weights.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from hpclaunch.errors import UserError
from hpclaunch.recipe.groups import completion_tokens
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.failure import one_line


def server_command(recipe: Recipe, model: str, host: str, port: str, gpus: int) -> list[str]:
    """Return the server's command line. `model`: a folder or a hub id; `gpus`: of the node."""
    section = recipe.method.grpo
    length = section.max_prompt_length + completion_tokens(recipe)
    command = [
        sys.executable, "-m", "trl.scripts.vllm_serve",
        "--model", model,
        "--host", host,
        "--port", port,
        "--dtype", recipe.model.dtype,
        "--tensor_parallel_size", str(section.server.tensor_parallel_size or gpus),
        "--max_model_len", str(section.server.max_model_len or length),
    ]  # fmt: skip
    return command + (["--revision", recipe.model.revision] if recipe.model.revision else [])


def listening_address(name: str) -> str:
    """Return this node's address by which the ranks reach it; all of them where it is loopback."""
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return "0.0.0.0"  # noqa: S104 - the name is only known elsewhere
    return "0.0.0.0" if ipaddress.ip_address(address).is_loopback else address  # noqa: S104


def main(arguments: list[str]) -> int:
    """Become the server of the run folder named first; return the exit code where that fails."""
    parser = argparse.ArgumentParser(prog="python -m hpclaunch.train.serve", description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of this node (1)")
    given = parser.parse_args(arguments)
    try:
        from hpclaunch.train.model import source

        recipe = load(str(RunFolder(given.run.absolute()).recipe))
        host, port = os.environ["HPCLAUNCH_SERVER"], os.environ["HPCLAUNCH_SERVER_PORT"]
        where = source(recipe.model).path
        command = server_command(recipe, where, listening_address(host), port, given.gpus)
    except UserError as error:
        print(f"hpclaunch: {one_line(error)}", file=sys.stderr)
        return 2
    print("server:", *command, flush=True)
    return _become(command)


def _become(command: list[str]) -> NoReturn:
    os.execv(command[0], command)  # noqa: S606 - no shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
