"""Starts the sidecar as users do: as a process of its own, with or without (stand-in) GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from monitors import layout
from monitors.formats.samples import SamplesReader
from monitors.model import Record, Start, Tick

ROOT = Path(__file__).parents[2]
FAST = "0.1"


def start_sidecar(
    out: Path, *more: str, library: Path | None = None, **env: str
) -> subprocess.Popen[str]:
    """Start a sidecar for node n1, ten ticks a second unless told otherwise."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("FAKE_NVML")}
    given |= {"PYTHONPATH": str(ROOT), **env}
    if library is not None:
        given["LD_LIBRARY_PATH"] = str(library)
    interval = () if "--interval" in more else ("--interval", FAST)
    command = [sys.executable, "-m", "monitors.sidecar", "--out", str(out), "--node", "n1"]
    return subprocess.Popen(
        [*command, *interval, *more],
        env=given,
        cwd=out.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out: Path) -> list[Record]:
    """All whole records of node n1 so far."""
    try:
        lines = layout.path_of(out, "n1", layout.SAMPLES).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return list(SamplesReader(lines))


def of_kind(out: Path, kind: type[Any]) -> list[Any]:
    """The records of one kind."""
    return [record for record in records(out) if isinstance(record, kind)]


def wait_for_ticks(
    process: subprocess.Popen[str], out: Path, count: int, starts: int = 1
) -> list[Tick]:
    """Wait until recording number `starts` has `count` ticks; returns them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        found = records(out)
        heads = [at for at, record in enumerate(found) if isinstance(record, Start)]
        begin = heads[starts - 1] if len(heads) >= starts else len(found)
        ticks = [record for record in found[begin:] if isinstance(record, Tick)]
        if len(ticks) >= count:
            return ticks
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"no {count} ticks; sidecar says: {process.communicate()[1]}")


def end(process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> float:
    """Send a signal, wait, check that the sidecar ended in order; returns the seconds it took."""
    begin = time.monotonic()
    process.send_signal(how)
    _, talk = process.communicate(timeout=10)
    assert (process.returncode, talk) == (0, "")
    return time.monotonic() - begin
