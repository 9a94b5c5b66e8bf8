"""Make the environment of llm-compressor, once: where there is internet, before a job needs it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.compressor import COMPLETE, REQUIREMENT, environment_of, is_complete
from hpclaunch.units import duration

LIMIT_S = 1800.0
"""Seconds that one step may take."""
_SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"hpclaunch: {text}", file=sys.stderr, flush=True)


def ensure_compressor(prefix: Path, say: Callable[[str], None] = _say) -> Path:
    """Return the environment of llm-compressor for a job's Python `prefix`, made if need be.

    Of several that make it at once, one is kept. Raises UserError where it cannot be made.
    """
    environment = environment_of(prefix)
    if is_complete(environment):
        return environment
    say(f"making an environment for llm-compressor, once: {environment}")
    began = time.monotonic()
    aside: Path | None = None
    try:
        for folder in (environment.parents[1], environment.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=environment.parent))
        python = prefix / "bin" / ("python" if (prefix / "bin" / "python").exists() else "python3")
        shared = _run([str(python), "-c", _SITE_PACKAGES], "made")
        _run([str(python), "-m", "venv", str(aside)], "made")
        own = _run([str(aside / "bin/python"), "-c", _SITE_PACKAGES], "made")
        # After its own packages come the job's: PyTorch is not installed twice.
        (Path(own.strip()) / "zz_shared.pth").write_text(f"{shared.strip()}\n", "utf-8")
        say(f"installing {REQUIREMENT}, with the PyTorch of {prefix}")
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([str(aside / "bin/python"), *pip, REQUIREMENT], "filled")
        (aside / COMPLETE).write_text(f"{REQUIREMENT}\n", "utf-8")
        if not is_complete(environment):
            shutil.rmtree(environment, ignore_errors=True)
            aside.rename(environment)
    except OSError as error:
        if not is_complete(environment):
            raise UserError(f"{environment} cannot be made: {error.strerror or error}") from None
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    say(f"made in {duration(time.monotonic() - began)}")
    return environment


def _run(command: Sequence[str], what: str) -> str:
    """Run a step, return its output. Raises UserError with its last line."""
    problem = ""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
            problem = lines[-1].strip()[:300]
    except subprocess.TimeoutExpired:
        problem = f"not in {duration(LIMIT_S)}"
    if problem:
        raise UserError(
            f"the environment for llm-compressor could not be {what}: {problem}",
            "run it where there is internet: a login node",
        )
    return done.stdout
