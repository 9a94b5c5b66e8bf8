"""The program that fetches, in the job's environment: started, followed, its answer returned."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from hpclaunch.errors import UserError, nearest
from hpclaunch.fetch.wanted import Wanted, described
from hpclaunch.frozen import frozen
from hpclaunch.launch.program import check_packages
from hpclaunch.recipe import library
from hpclaunch.secrets import mask

PACKAGES = ("huggingface_hub", "datasets", "hpclaunch")
"""What the environment must have."""
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = {"1", "true", "yes", "on"}


@frozen
class Progress:
    """What the fetching does now."""

    text: str
    done: int | None = None
    total: int | None = None
    """Bytes; None where it is not about bytes."""


@frozen
class Fetched:
    """What was to be fetched, and what it came to."""

    plan: dict[str, Any]
    result: dict[str, Any] | None
    """None: a dry run."""


def environment_of(variables: Mapping[str, str], site: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the fetching: those of the jobs, but with the network.

    `site`: those that the site profile sets. Raises UserError where this shell is offline itself.
    """
    for name in OFFLINE:
        if variables.get(name, "").strip().lower() in _TRUE:
            raise UserError(f"{name} is set in this shell: nothing can be fetched", f"unset {name}")
    seen = {**variables, **site}
    return {name: value for name, value in seen.items() if name not in OFFLINE}


def fetch(
    items: Sequence[Wanted],
    python: Path,
    environment: Mapping[str, str],
    *,
    dry_run: bool = False,
    planned: Callable[[dict[str, Any]], None] = lambda _: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Fetched:
    """Fetch repositories into the hub's cache. `python`: the prefix of the job's environment.

    `planned` is called with what is to be fetched, before it begins. Raises UserError with what
    cannot be fetched and why.
    """
    check_packages(python, PACKAGES, Path("/"))
    request = {"items": described(items), "dry_run": dry_run}
    plan: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(python / "bin" / "python"), "-P", "-m", "hpclaunch.train.fetch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(environment),
            text=True,
        )
        try:
            with contextlib.suppress(BrokenPipeError):
                json.dump(request, cast("IO[str]", process.stdin))
                cast("IO[str]", process.stdin).close()
            for line in cast("IO[str]", process.stdout):
                message = _message(line)
                if "progress" in message:
                    progress(Progress(**message["progress"]))
                elif "plan" in message:
                    plan = message["plan"]
                    planned(plan)
                elif "result" in message:
                    result = message["result"]
                elif "error" in message:
                    raise _error(**message["error"])
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code:
            raise UserError(f"the fetching ended with exit code {code}: {_last_line(errors)}")
    return Fetched(plan, result)


def _message(line: str) -> dict[str, Any]:
    """Return a line of the program; one that a library wrote there is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(message: str, fix: str) -> UserError:
    prefix = "no recipe, task, model or dataset called "
    if message.startswith(prefix):
        near = nearest(message.removeprefix(prefix), library.names())
        fix = near if near.startswith("did you mean") else fix
    return UserError(mask(message), fix)


def _last_line(stream: IO[str]) -> str:
    stream.seek(0)
    lines = [line.strip() for line in stream.read().splitlines() if line.strip()]
    return mask(lines[-1])[:300] if lines else "it printed nothing"
