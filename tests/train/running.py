"""Make a run folder without the command line, and train in it on CPU processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.plan.layout import layout
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.render.accelerate import accelerate_config
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from tests.forkserver.client import SERVERS as RUNS_SERVERS
from tests.forkserver.client import ForkServer, at_import


@dataclass(frozen=True)
class Outcome:
    """How a program ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams."""
        return self.out + self.err


def make_run(
    root: Path, overrides: list[str], *, nodes: int = 1, per_node: int = 2, base: str = "tiny"
) -> RunFolder:
    """Write recipe.yaml and accelerate.yaml for CPU processes into a new run folder."""
    folder = RunFolder(root)
    for path in (folder.root, folder.logs, folder.metrics):
        path.mkdir(parents=True, exist_ok=True)
    recipe = load(base, overrides)
    folder.recipe.write_text(to_yaml(recipe), "utf-8")
    plan = layout(recipe, nodes, per_node, "cpu")
    folder.accelerate.write_text(accelerate_config(plan, 1, nodes * per_node, "cpu"), "utf-8")
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return the variables of a rank: no network, one thread each, the tests' own cache."""
    own = {k: v for k, v in os.environ.items() if k not in {"RANK", "WORLD_SIZE", "LOCAL_RANK"}}
    return {
        **own,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        **more,
    }


def caches() -> dict[str, str]:
    """Return the variables of the caches of models and data that all trainings of a run share."""
    base = Path(os.environ[RUNS_SERVERS]) / "caches"
    return {"XDG_CACHE_HOME": str(base), "HF_HOME": str(base / "huggingface")}


def launch(
    folder: RunFolder,
    processes: int,
    timeout: float = 600,
    program: Sequence[str] = ("-m", "hpclaunch.train"),
    **more: str,
) -> Outcome:
    """Train as a job's script does: accelerate starts `processes` ranks on this machine."""
    command = launch_command(folder, processes, program)
    return run_program(command, timeout, environment(**more))


def launch_real(folder: RunFolder, processes: int, timeout: float = 600, **more: str) -> Outcome:
    """Train with a launcher and ranks that are no forks, but new interpreters as users have."""
    command = launch_command(folder, processes, ("-m", "hpclaunch.train"))
    return run_program(command, timeout, environment(**more), real=True)


def launch_command(folder: RunFolder, processes: int, program: Sequence[str]) -> list[str]:
    """Return the launcher's command line for `processes` ranks of a program on this machine."""
    return [
        "accelerate-launch",
        *("--config_file", str(folder.accelerate)),
        *("--num_machines", "1"),
        *("--num_processes", str(processes)),
        *("--machine_rank", "0"),
        *("--main_process_ip", "127.0.0.1"),
        *("--main_process_port", str(free_port())),
        *("--rdzv_backend", "static"),
        "--same_network",
        *("--tee", "3"),
        *("--log_dir", str(folder.logs / "ranks" / "node-0")),
        *("--role", "cpu"),
        *program,
        str(folder.root),
    ]


def program(
    module: str, *arguments: str, timeout: float = 600, stdin: str = "", **more: str
) -> Outcome:
    """Run `python -m module arguments` to its end."""
    command = [sys.executable, "-m", module, *arguments]
    return run_program(command, timeout, environment(**more), stdin=stdin)


def run_program(
    command: list[str],
    timeout: float,
    env: dict[str, str],
    *,
    stdin: str = "",
    real: bool = False,
) -> Outcome:
    """Run a command to its end: as a fork that has its imports behind it, unless it must be `real`.

    See `tests.forkserver` for what a fork cannot show.
    """
    server = None if real else shared_server(env)
    forked = _forked(command)
    if server is None or forked is None:
        done = subprocess.run(
            command,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    else:
        done = server.run(forked, env, timeout, stdin)
    return Outcome(done.returncode, done.stdout, done.stderr)


SERVERS: dict[frozenset[tuple[str, str]], ForkServer] = {}
"""The fork servers of this session, by the variables that were set at their imports."""

MOST_SERVERS = 3
"""Each costs 8 s of CPU time to start, and half a GiB."""


def shared_server(env: dict[str, str]) -> ForkServer | None:
    """Return the fork server of this process's variables, None where `env` differs at imports."""
    own = environment()
    at_imports = frozenset(at_import(own).items())
    if frozenset(at_import(env).items()) != at_imports:
        return None
    if at_imports not in SERVERS:
        if len(SERVERS) == MOST_SERVERS:
            differ = sorted({name for other in SERVERS for name, _ in at_imports ^ other})
            warnings.warn(f"programs not forked: variables set before them: {differ}", stacklevel=2)
            return None
        SERVERS[at_imports] = ForkServer(own)
    return SERVERS[at_imports]


def _forked(command: list[str]) -> list[str] | None:
    """Return what a fork is to run for a command; None where it is no program of Python's."""
    if command[0] == "accelerate-launch":
        return command
    if command[0] != sys.executable:
        return None
    return command[1:]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events_of(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind."""
    return [event for event in read_events(folder.events) if event["event"] == kind]


def losses(folder: RunFolder) -> dict[int, float]:
    """Return the loss of each step; of a step that ran twice, the later."""
    return {event["step"]: event["loss"] for event in events_of(folder, "step")}
