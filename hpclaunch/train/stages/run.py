"""What every stage's program does around its work: read stage.json, tell phases, leave results."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.permissions import apply_umask
from hpclaunch.run.removal import remove
from hpclaunch.run.stage import Source, StageRecord, StageResults, read_stage, write_results
from hpclaunch.train import phases
from hpclaunch.train.failure import forget_failures, write_failure
from hpclaunch.train.process import hide_bitsandbytes, peak_resident_bytes, run_program
from hpclaunch.train.quiet import quieten
from hpclaunch.train.stages.inputs import Weights, open_source

_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 1 << 18
"""Blocks from this size on go back to the system once freed: tensors, read one after the other."""


@dataclass
class StageRun:
    """A stage at work."""

    folder: RunFolder
    record: StageRecord
    opened: list[Weights] = field(default_factory=list)

    @property
    def settings(self) -> Any:
        """The settings, of the stage's own class."""
        return self.record.settings

    def open(self, source: Source) -> Weights:
        """Return where a source's weights lie now. Raises UserError where they are not there."""
        found = open_source(source, self.scratch)
        self.opened.append(found)
        return found

    @property
    def scratch(self) -> Path:
        """A folder for what is gone when the stage ends."""
        return self.folder.root / ".scratch"

    @contextlib.contextmanager
    def final(self) -> Iterator[Path]:
        """Return an empty folder that becomes RUN/final, whole, where the block does not raise."""
        partial = self.folder.root / ".final.partial"
        remove(partial)
        partial.mkdir()
        try:
            yield partial
            apply_umask(partial)
            remove(self.folder.final)
            partial.rename(self.folder.final)
        except BaseException:
            remove(partial)
            raise


def stage_program(
    work: Callable[[StageRun], dict[str, Any]], *, quantized: bool = False
) -> NoReturn:
    """Do a stage's work in the run folder of HPCLAUNCH_RUN, and exit.

    What `work` returns is written as the `values` of results.json. `quantized`: it may load
    4-bit weights.
    """
    run_program(lambda: main(sys.argv[1:], work, quantized=quantized))


def main(
    arguments: list[str],
    work: Callable[[StageRun], dict[str, Any]],
    *,
    quantized: bool = False,
) -> int:
    """Do the work; returns the exit code."""
    folder = RunFolder(Path(arguments[0] if arguments else os.environ["HPCLAUNCH_RUN"]).absolute())
    quieten()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    first = os.environ.get("RANK", "0") == "0"
    if first:
        forget_failures(folder)
        folder.results.unlink(missing_ok=True)
        phases.start(folder)
    if not quantized:
        hide_bitsandbytes()
    run: StageRun | None = None
    try:
        record = read_stage(folder)
        if record is None:
            raise UserError(f"{folder.root} is no run of a stage: it has no stage.json")
        run = StageRun(folder, record)
        if run.scratch.is_symlink():
            remove(run.scratch)  # nothing is written to where a link leads
        began = time.monotonic()
        phases.begin(f"{record.settings.stage}: importing PyTorch and Transformers")
        values = work(run)
        if first:
            write_results(folder, _results(run, time.monotonic() - began, values))
        phases.stop()
    except Exception as error:
        phases.stop()
        return write_failure(folder, error)
    finally:
        if first and run is not None:
            remove(run.scratch)
    return 0


def _results(run: StageRun, seconds: float, values: dict[str, Any]) -> StageResults:
    return StageResults(
        stage=run.record.settings.stage,
        fingerprints=tuple(opened.fingerprint for opened in run.opened),
        seconds=round(seconds, 3),
        peak_host_bytes=peak_resident_bytes(),
        peak_gpu_bytes=_peak_gpu_bytes(),
        values=values,
    )


def _peak_gpu_bytes() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(int(torch.cuda.max_memory_allocated(n)) for n in range(torch.cuda.device_count()))
