"""Starts the sidecar as users do: as a process of its own, with or without (stand-in) GPUs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitors.exports.export import export
from monitors.records import GpuInfo, GpuSample, GpuTable, Note, Record, Start, Tick
from monitors.storage.formats.json_lines import SamplesReader
from monitors.storage.store import NodeStore

ROOT = Path(__file__).parents[2]
FAST = "0.1"


PROBE = """
import sys, time
from monitors.storage.formats.json_lines import line
from monitors.records import GpuTable, HostSample, Note, Tick
from monitors.recorder.devices.nvml import NvmlSource
source = NvmlSource()
print(line(GpuTable(source.open())), end="")
for n in range(int(sys.argv[1])):
    print(line(Tick(n, 0, 0, HostSample(), source.sample(n))), end="")
    time.sleep(float(sys.argv[2]))
for text in source.notes():
    print(line(Note(0, text)), end="")
"""


@dataclass(frozen=True)
class Probe:
    """What the GPU source of the sidecar found: the GPUs, their samples tick by tick, the notes."""

    table: tuple[GpuInfo, ...]
    ticks: list[tuple[GpuSample, ...]]
    notes: list[str]


def probe(library: Path, ticks: int = 1, pause_s: float = 0.0, **env: str) -> Probe:
    """Ask the stand-in's GPUs through the real binding, without a clock."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(ticks), str(pause_s)],
        env=environment(library, env),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = list(SamplesReader(done.stdout.splitlines(keepends=True)))
    (table,) = [record.gpus for record in found if isinstance(record, GpuTable)]
    return Probe(
        table,
        [record.gpus for record in found if isinstance(record, Tick) and record.gpus is not None],
        [record.text for record in found if isinstance(record, Note)],
    )


def environment(library: Path | None, more: dict[str, str]) -> dict[str, str]:
    """The environment for a process that uses `library` (a folder) as its NVML."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("FAKE_NVML")}
    given |= {"PYTHONPATH": str(ROOT), **more}
    if library is not None:
        given["LD_LIBRARY_PATH"] = str(library)
    return given


def start_sidecar(
    out: Path,
    *more: str,
    library: Path | None = None,
    **env: str,
) -> subprocess.Popen[str]:
    """Start a sidecar for node n1, ten ticks a second unless told otherwise."""
    given = environment(library, env)
    interval = () if "--interval" in more else ("--interval", FAST)
    command = [sys.executable, "-m", "monitors.recorder", "--out", str(out), "--node", "n1"]
    return subprocess.Popen(
        [*command, *interval, *more],
        env=given,
        cwd=out.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out: Path) -> list[Record]:
    """All whole records of node n1 so far."""
    return list(NodeStore(out, "n1").records())


def table(out: Path, form: str) -> list[str]:
    """The lines of node n1's samples as `dmon` or `vmstat` would have written them."""
    text = io.StringIO()
    export(out, form, None, ("n1",), text)
    return text.getvalue().splitlines(keepends=True)


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
